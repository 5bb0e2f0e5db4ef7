"""Every engine on two processes: the same training as torch alone on the whole batch, and what saves and skips do.

DeepSpeed's part is in the group `engines` (`make test-engines`): it compiles an extension on first use.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import engine_checks as checks
from helpers.training import ROOT, torchrun
from torch.testing import assert_close

from timechat import distributed
from timechat.models.checkpoints import trainable_state_dict

pytestmark = pytest.mark.distributed

TORCH, DEEPSPEED = ("ddp", "fsdp"), ("deepspeed_zero2", "deepspeed_zero3")
DEEPSPEED += tuple(name + checks.OFFLOAD for name in DEEPSPEED)
NEEDS_DEEPSPEED = (
    pytest.mark.engines,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
)
Start = Callable[[tuple[str, ...]], tuple[Path, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Put some engines through everything; their folder, and what each of two processes found."""

    @functools.cache
    def run(strategies: tuple[str, ...]) -> tuple[Path, list[dict[str, Any]]]:
        folder = tmp_path_factory.mktemp("engines")
        worker = ROOT / "tests" / "helpers" / "engine_checks.py"
        status, output = torchrun(worker, str(folder), *strategies, timeout=900.0)
        assert status == 0, output[-5000:]
        return folder, [torch.load(folder / f"{rank}.pth", weights_only=True) for rank in (0, 1)]

    return run


@pytest.fixture(params=[*TORCH, *(pytest.param(name, marks=NEEDS_DEEPSPEED) for name in DEEPSPEED)])
def strategy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def ranks(strategy: str, start: Start) -> list[dict[str, Any]]:
    """What the two processes of an engine found."""
    _, found = start(TORCH if strategy in TORCH else DEEPSPEED)
    return [rank[strategy] for rank in found]


@pytest.fixture(scope="module")
def plain() -> dict[str, checks.Steps]:
    """The same steps without an engine."""

    def run(build: Callable, number: int, clip: float | None) -> checks.Steps:
        model = checks.tiny_model()
        return checks.plain_steps(model, build(model), number, clip)

    return {
        "three": run(checks.sgd_of, 3, None),
        "clipped": run(checks.sgd_of, 1, checks.CLIP),
        "adam": run(checks.adam_of, 2, checks.CLIP),
    }


def _assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, weight in expected.items():
        assert_close(found[name], weight, rtol=0.0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_the_engine_that_runs_is_the_one_that_was_asked_for(strategy: str, ranks: list[dict[str, Any]]) -> None:
    assert [rank["name"] for rank in ranks] == [strategy.removesuffix(checks.OFFLOAD)] * 2
    assert [rank["offloads"] for rank in ranks] == [strategy.endswith(checks.OFFLOAD)] * 2


def test_two_processes_train_as_torch_alone_does(ranks: list[dict[str, Any]], plain: dict[str, checks.Steps]) -> None:
    """Frame counts and answers of all lengths, and images, which leave the sentence's parameters idle."""
    expected = plain["three"]
    for rank in ranks:
        found = rank["steps"]
        assert found["losses"] == pytest.approx(expected.losses, rel=1e-5)
        for mine, theirs in zip(found["gradients"], expected.gradients, strict=True):
            assert mine.keys() == theirs.keys()
            for name, gradient in theirs.items():
                atol = 1e-7 + 1e-5 * float(gradient.abs().max())
                assert_close(mine[name], gradient, rtol=0.0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")
    _assert_same_weights(ranks[0]["steps"]["weights"], expected.weights)
    assert expected.losses[2] < expected.losses[0]


def test_clipping_goes_by_the_norm_over_all_processes(
    ranks: list[dict[str, Any]], plain: dict[str, checks.Steps]
) -> None:
    expected = plain["clipped"]
    assert min(expected.norms) > 2 * checks.CLIP
    for rank in ranks:
        assert rank["clipped"]["norms"] == pytest.approx(expected.norms, rel=1e-5)
    _assert_same_weights(ranks[0]["clipped"]["weights"], expected.weights)


def test_a_resumed_engine_is_bit_identical(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        straight, again = rank["resume"]["straight"], rank["resume"]["again"]
        assert again["losses"] == straight["losses"]
        assert again["norms"] == straight["norms"]
        assert all(torch.equal(again["weights"][name], weight) for name, weight in straight["weights"].items())


def test_adam_takes_the_steps_that_torch_alone_does(
    ranks: list[dict[str, Any]], plain: dict[str, checks.Steps]
) -> None:
    """DeepSpeed's own AdamW for CPUs, where the optimizer works in main memory."""
    _assert_same_weights(ranks[0]["resume"]["straight"]["weights"], plain["adam"].weights)


def test_what_is_no_number_on_one_process_is_skipped_by_both(
    ranks: list[dict[str, Any]], plain: dict[str, checks.Steps]
) -> None:
    for rank in ranks:
        assert rank["skip"]["finite"] == [False, False]
        assert all(torch.equal(rank["skip"]["after"][name], weight) for name, weight in rank["skip"]["before"].items())
        assert rank["skip"]["then"]["losses"] == pytest.approx(plain["adam"].losses[:1], rel=1e-5)
        assert rank["skip"]["then"]["norms"] == pytest.approx(plain["adam"].norms[:1], rel=1e-5)


def test_bf16_computes_in_bf16_and_leaves_weights_as_they_are(
    ranks: list[dict[str, Any]], plain: dict[str, checks.Steps]
) -> None:
    """What learns stays fp32; frozen parts beside it keep precisions of their own."""
    for rank in ranks:
        half = rank["half"]
        assert half["losses"] == pytest.approx(plain["three"].losses[:1], rel=0.05)
        assert half["losses"] != pytest.approx(plain["three"].losses[:1], rel=1e-5)
        learns = set(rank["steps"]["gradients"][0])
        kinds = {name: half["dtypes"][name] for name in half["dtypes"]}
        assert {kinds[name] for name in learns} == {"torch.float32"}
        assert kinds["ln_vision.weight"] == "torch.float16"
        assert kinds["llama_model.base_model.model.model.embed_tokens.weight"] == "torch.bfloat16"


def test_a_decoder_that_learns_whole_is_fp32(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["decoder"]["dtypes"] == {"torch.float32"}
        first, second = rank["decoder"]["losses"]
        assert second < first
    assert "llama_model.base_model.model.lm_head.weight" in ranks[0]["decoder"]["learns"]


def test_what_is_frozen_is_not_sharded_but_in_stage_3(strategy: str, ranks: list[dict[str, Any]]) -> None:
    learns = set(ranks[0]["steps"]["gradients"][0])
    whole = set(ranks[0]["half"]["dtypes"])
    sharded = {"fsdp": learns, "deepspeed_zero3": whole, f"deepspeed_zero3{checks.OFFLOAD}": whole}
    expected = sharded.get(strategy, set())
    assert [set(rank["sharded"]) for rank in ranks] == [expected] * 2


def test_the_main_process_gets_the_published_names(ranks: list[dict[str, Any]]) -> None:
    names = set(trainable_state_dict(checks.tiny_model()))
    assert [set(rank["published"]) for rank in ranks] == [names, set()]


@pytest.mark.parametrize(("written", "strategy"), [TORCH, TORCH[::-1]])
def test_one_process_goes_on_from_what_two_wrote_with_the_other_engine(
    written: str, strategy: str, start: Start, plain: dict[str, checks.Steps]
) -> None:
    folder, _ = start(TORCH)
    saved = torch.load(folder / written / "saved.pth", weights_only=True)
    held = saved["optimizer"]["state"]
    assert {state["exp_avg"].shape for state in held.values()} == {w.shape for w in plain["adam"].weights.values()}
    assert len(held) == len(plain["adam"].weights), "frozen parameters have no state"
    try:
        engine = checks.resumed(strategy, checks.tiny_model(), saved, folder / written)
        found = checks.engine_steps(engine, 1, clip=checks.CLIP)
    finally:
        distributed.destroy_process_group()
    assert engine.name == {"ddp": "single", "fsdp": "fsdp"}[strategy]
    assert found.losses == pytest.approx(plain["adam"].losses[1:], rel=1e-5)
    _assert_same_weights(found.weights, plain["adam"].weights)
