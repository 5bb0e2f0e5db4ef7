"""`run.liger` on a machine without a GPU: what is replaced, what is not, and what is refused.

The kernels have a stand-in of PyTorch's operations, which does to the modules what Liger's source does;
benchmarks/gpu.py compares the real ones.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import liger_stand_in
from helpers.engine_checks import batches, tiny_model
from helpers.plain_model import PlainLayers
from helpers.tiny import LLAMA, build_tiny, llama_folder
from helpers.training import NO_DROPOUT, STEADY, build, make_videos, train
from torch import nn
from torch.testing import assert_close
from transformers.models.llama import modeling_llama

from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.models import llama as lm
from timechat.models.liger import check_liger, use_liger
from timechat.models.llama import build_llama
from timechat.runners import runner as runner_module

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Liger is there; how often each kernel was called."""
    return liger_stand_in.install(monkeypatch)


def layers_of(model: TimeChat) -> int:
    return lm.causal_lm(model.llama_model).config.num_hidden_layers


def times(calls: Counter[str], layers: int) -> float:
    """How often all layers were computed, if each has two norms, one MLP and one RoPE; the last norm apart."""
    found = {calls["rope"] / layers, calls["swiglu"] / layers, calls["norm"] // 2 / layers}
    assert len(found) == 1, calls
    return found.pop()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_are_those_of_the_plain_model(calls: Counter[str], checkpointing: bool) -> None:
    """With LoRA, rows of several videos in one sequence, and layers that are computed twice."""
    settings = f"model.use_grad_checkpoint={str(checkpointing).lower()}"
    plain, replaced = tiny_model(settings), tiny_model(settings)
    names = list(replaced.state_dict())
    wanted = []
    for batch in batches(plain):
        wanted.append(plain(batch)["sample_losses"])
        wanted[-1].mean().backward()
    assert not calls
    replaced.use_liger()
    assert list(replaced.state_dict()) == names
    for batch, expected in zip(batches(replaced), wanted, strict=True):
        calls.clear()
        loss = replaced(batch)["sample_losses"]
        assert times(calls, layers_of(replaced)) == 1
        loss.mean().backward()
        assert times(calls, layers_of(replaced)) == 1 + checkpointing
        assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    learned = 0
    for (name, ours), theirs in zip(replaced.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            learned += "lora_" in name
            assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6 * max(1.0, float(theirs.grad.abs().max())))
    assert learned


def test_rows_of_one_sequence_stay_apart(calls: Counter[str]) -> None:
    llama = build_tiny().eval().llama_model
    rows = [torch.randn(n, lm.hidden_size(llama), generator=torch.Generator().manual_seed(n)) for n in (5, 3)]
    use_liger(llama)
    together = lm.hidden_states(llama, rows)
    assert calls["rope"]
    for row, states in zip(rows, together, strict=True):
        assert_close(states, lm.hidden_states(llama, [row])[0])


def test_answers_do_without_the_kernels(calls: Counter[str]) -> None:
    model = build_tiny().eval()
    frames = [torch.randint(0, 256, (4, 3, 56, 56), generator=torch.Generator().manual_seed(0)).to(torch.uint8)]
    asked = {"max_new_tokens": 8, "do_sample": False}
    before = model.generate(frames, [[0.0, 1.0, 2.0, 3.0]], ["When?"], **asked)
    model.use_liger()
    assert model.generate(frames, [[0.0, 1.0, 2.0, 3.0]], ["When?"], **asked) == before
    assert not calls


def test_models_that_are_built_later_are_plain(calls: Counter[str]) -> None:
    kinds = modeling_llama.LlamaRMSNorm, modeling_llama.LlamaMLP
    build_tiny().use_liger()
    assert (modeling_llama.LlamaRMSNorm, modeling_llama.LlamaMLP) == kinds
    later = build_llama(LLAMA).model
    assert (type(later.norm), type(later.layers[0].mlp)) == kinds


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_cpu_is_refused(calls: Counter[str]) -> None:
    check_liger(CUDA)
    with pytest.raises(ConfigError, match=r"run\.liger=true: Liger's kernels need a CUDA GPU.* on the CPU"):
        check_liger(CPU)


def test_without_liger_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    monkeypatch.delitem(sys.modules, "liger_kernel.transformers", raising=False)
    with pytest.raises(ConfigError, match=r"run\.liger=true needs Liger .*pip install 'timechat\[liger\]'"):
        check_liger(CUDA)


def test_another_activation_is_refused(calls: Counter[str], tmp_path: Path) -> None:
    """Liger would compute silu in its place."""
    llama = build_llama(llama_folder(tmp_path / "llama", hidden_act="gelu"))
    with pytest.raises(ConfigError, match=r"config\.json of model\.llama_model has hidden_act='gelu'"):
        use_liger(llama)


def test_a_model_without_llama_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.liger=true: PlainLayers has no LLaMA"):
        PlainLayers(nn.Linear(1, 1)).use_liger()


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_run_says_so_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Counter[str]
) -> None:
    monkeypatch.setattr(runner_module.Runner, "_load_model", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(ConfigError, match="need a CUDA GPU"):
        build(tmp_path / "run", {"tv": make_videos(tmp_path / "videos")}, "run.liger=true")


def test_a_run_with_it_is_the_plain_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    monkeypatch.setattr(runner_module, "check_liger", lambda device: None)
    datasets = {"tv": make_videos(tmp_path / "videos")}
    options = ("run.iters_per_epoch=3", *NO_DROPOUT, *STEADY)
    plain = train(tmp_path / "plain", datasets, *options)
    assert not calls
    replaced = train(tmp_path / "replaced", datasets, *options, "run.liger=true")
    assert calls["swiglu"] == 3 * layers_of(replaced.runner.engine.unwrap())
    assert replaced.losses == pytest.approx(plain.losses, rel=1e-5)
    assert replaced.checkpoint()["model"].keys() == plain.checkpoint()["model"].keys()
