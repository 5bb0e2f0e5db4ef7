"""How often a step waits for its device: each number that the process reads makes it wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import Golden, golden_batch
from helpers.training import build, make_videos

from timechat import distributed
from timechat.models import TimeChat

READS = ("item", "tolist", "cpu", "nonzero", "__bool__", "__float__", "__int__", "__index__")
# What reads a number of places, depending on its arguments.
SOMETIMES: dict[str, Callable[..., bool]] = {
    "__getitem__": lambda index, *_: isinstance(index, torch.Tensor) and index.dtype == torch.bool,
    "repeat_interleave": lambda *_, output_size=None: output_size is None,
}


@contextmanager
def counted_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How many values are read out of tensors, by way; what one way does through another counts once."""
    count: Counter[str] = Counter()
    always: Callable[..., bool] = lambda *_, **__: True  # noqa: E731
    inside = [False]

    def watched(name: str) -> Any:
        real = getattr(torch.Tensor, name)

        def read(self: torch.Tensor, *args: Any, **options: Any) -> Any:
            count[name] += not inside[0] and SOMETIMES.get(name, always)(*args, **options)
            before, inside[0] = inside[0], True
            try:
                return real(self, *args, **options)
            finally:
                inside[0] = before

        return read

    with monkeypatch.context() as patch:
        for name in (*READS, *SOMETIMES):
            patch.setattr(torch.Tensor, name, watched(name))
        yield count


@pytest.mark.parametrize("options", [(), ("run.clip_grad_norm=0.01",)], ids=["free", "clipped"])
def test_the_end_of_a_step_reads_once_however_many_tensors_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Behind the last backward pass: finite or not, the norm and the loss in one read, and nothing for the rest."""
    runner = build(tmp_path / "run", {"tv": make_videos(tmp_path / "videos")}, "run.iters_per_epoch=2", *options)
    (batches, *_) = list(runner._step_batches(0))
    runner.step(batches, 1e-4, 0)  # whatever is made in the first step
    reads: list[Counter[str]] = []
    check, step = runner.engine.check, runner.engine.step
    stack = []

    def begin(loss: torch.Tensor) -> Any:
        stack.append(counted_reads(monkeypatch))
        reads.append(stack[-1].__enter__())
        return check(loss)

    def end() -> None:
        step()
        stack.pop().__exit__(None, None, None)

    runner.engine.check, runner.engine.step = begin, end
    runner.step(batches, 1e-4, 1)
    assert len(runner.state.optimized) > 50
    assert [dict(+count) for count in reads] == [{"tolist": 1}]


def test_the_forward_pass_reads_nothing_once_frames_are_being_encoded(
    golden: Golden, tiny_model: TimeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has to know of its conversations it reads before, while the device has nothing to do."""
    encode, batch = tiny_model._encode_packed, golden_batch(golden, tiny_model.tokenizer)
    with ExitStack() as stack:
        reads: list[Counter[str]] = []

        def begin(*args: Any) -> Any:
            reads.append(stack.enter_context(counted_reads(monkeypatch)))
            return encode(*args)

        monkeypatch.setattr(tiny_model, "_encode_packed", begin)
        loss = tiny_model(batch)["loss"]
    assert [dict(+count) for count in reads] == [{}]
    assert loss.isfinite()


def test_a_single_process_agrees_with_itself_without_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "tensor", lambda *args, **settings: pytest.fail("a tensor was made"))
    device = torch.device("cpu")
    assert distributed.all_reduce_sum([1, 2.5], device) == [1.0, 2.5]
    assert distributed.all_reduce_max(3, device) == 3.0
