"""`run.compile`: the same numbers, the same names, few graphs. Without a C++ compiler, which only inductor needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.engine_checks import batches, tiny_model
from helpers.plain_model import PlainLayers
from helpers.training import NO_DROPOUT, STEADY, make_videos, train, training_config, weights_of
from torch import nn
from torch.testing import assert_close

from timechat.errors import ConfigError
from timechat.models import compiling
from timechat.models.compiling import GraphCount, compile_layers
from timechat.models.llama import causal_lm


@pytest.fixture(autouse=True)
def _without_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs belong to the process."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_lengths_of_all_kinds_change_no_number_and_need_few_graphs() -> None:
    """Losses and gradients of videos and images, short and long answers; all layers of a kind share graphs."""
    plain, compiled = tiny_model(), tiny_model()
    names = list(compiled.state_dict())
    count = compile_layers(compiled)
    assert list(compiled.state_dict()) == names
    made = []
    for batch in batches(plain) * 2:
        losses = [model(batch)["sample_losses"] for model in (plain, compiled)]
        assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
        for loss in losses:
            loss.mean().backward()
        made.append(count.made)
    for (name, ours), theirs in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5 * max(1.0, float(theirs.grad.abs().max())))
    assert made[-1] == made[1], "a video and an image are known by then, and all that follows differs in length alone"
    assert 0 < made[-1] <= count.most


def test_a_compiled_run_is_the_plain_run(tmp_path: Path) -> None:
    """With accumulation, two rows in a batch and recomputed layers; its checkpoint goes on in a plain run."""
    datasets = {"tv": make_videos(tmp_path / "videos")}
    options = (
        "run.batch_size_train=2",
        "run.accum_grad_iters=2",
        "run.iters_per_epoch=4",
        "model.use_grad_checkpoint=1",
        *NO_DROPOUT,
        *STEADY,
    )
    plain, compiled = (
        train(tmp_path / str(on), datasets, *options, f"run.compile={str(on).lower()}") for on in (False, True)
    )
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-5)
    assert compiled.checkpoint()["model"].keys() == plain.checkpoint()["model"].keys()
    more = train(tmp_path / "True", datasets, *options, "run.max_epoch=2", "run.compile=false")
    assert [record["step"] for record in more.steps] == [1, 2, 3, 4]
    assert weights_of(more.runner).keys() == weights_of(plain.runner).keys()


def test_layers_that_recompute_call_what_is_compiled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once: torch 2.11 cannot compile what recomputes inside of a graph. Layers of Q-Formers and decoder."""
    calls = [0]

    def counting(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., object]:
        def called(*args: object) -> object:
            calls[0] += 1
            return graph(*args)

        return called

    monkeypatch.setattr(compiling, "BACKEND", counting)
    forward = []
    for recomputes in ("false", "true"):
        model = tiny_model(f"model.use_grad_checkpoint={recomputes}")
        compile_layers(model)
        batch = batches(model)[0]
        calls[0] = 0
        loss = model(batch)["loss"]
        forward.append(calls[0])
        loss.backward()
        again = len(model.Qformer.bert.encoder.layer) + len(model.video_Qformer.bert.encoder.layer)
        again += len(causal_lm(model.llama_model).model.layers)
        assert calls[0] - forward[-1] == (again if recomputes == "true" else 0)
    assert forward[0] == forward[1] > 0


def test_a_run_with_validation_and_answers_stays_below_the_limit() -> None:
    """Beyond it torch would go on without compiling, and say so in its own log alone."""
    model = tiny_model("model.use_grad_checkpoint=true")
    count = compile_layers(model)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for batch in batches(model)[:1]:
            model.train()(batch)["loss"].backward()
            model.eval()
            with torch.no_grad():
                model(batch)
            with torch.inference_mode():
                model.encode_video(batch.frames.split(batch.frame_counts), batch.seconds)
    assert 0 < count.made <= count.most


def test_layers_that_recompute_share_no_graphs_with_others() -> None:
    """What torch compiles is known by its code, and so is the limit of graphs: that of Q-Formers is not LLaMA's."""
    model = tiny_model("model.use_grad_checkpoint=true")
    compile_layers(model)
    layers = [model.Qformer.bert.encoder.layer[0], causal_lm(model.llama_model).model.layers[0]]
    assert len({torch._dynamo.eval_frame.innermost_fn(layer.forward_once).__code__ for layer in layers}) == 2


def test_norms_and_scales_are_constants_in_the_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of Python's would come as a tensor, fp64 as nothing else here, and be read in each call."""
    seen: set[torch.dtype] = set()

    def looking(graph: torch.fx.GraphModule, inputs: list[object]) -> torch.fx.GraphModule:
        seen.update(part.dtype for part in inputs if isinstance(part, torch.Tensor))
        return graph

    monkeypatch.setattr(compiling, "BACKEND", looking)
    model = tiny_model()
    compile_layers(model)
    model(batches(model)[0])
    assert torch.float32 in seen
    assert torch.float64 not in seen


def test_too_many_graphs_are_a_warning_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [3]
    monkeypatch.setattr(compiling, "_graphs", lambda: graphs[0])
    count = GraphCount(kinds=2)
    with caplog.at_level(logging.WARNING):
        for graphs[0] in (3 + count.most, 4 + count.most, 5 + count.most):
            count.check()
    (record,) = caplog.records
    assert f"{count.most + 1} graphs were made, more than {count.most}" in record.getMessage()


def test_layers_whose_weights_come_and_go_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.compile=true: with run\.strategy=fsdp the weights of a layer"):
        training_config(tmp_path, {}, "run.compile=true", "run.strategy=fsdp")


def test_without_a_compiler_it_says_so_before_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(ConfigError, match=r"needs a C.. compiler, and there is no no_such_compiler"):
        compile_layers(PlainLayers(nn.Linear(1, 1)))


def test_a_model_that_names_no_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.compile=true: PlainLayers names no layers to compile"):
        compile_layers(PlainLayers(nn.Linear(1, 1)))
