"""Runs with a decoder whose head is its embedding table: checkpoints resume, and load as `model.ckpt`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers.tiny import build_tiny, llama_folder
from helpers.training import STEADY, make_videos, train, weights_of

TABLE = "llama_model.base_model.model.model.embed_tokens.weight"
OPTIONS = ("run.iters_per_epoch=2", "run.accum_grad_iters=1", "run.batch_size_train=1", "model.ckpt=", *STEADY)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"tv": make_videos(tmp_path_factory.mktemp("videos"))}


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny LLaMA folder with one table for embeddings and head."""
    folder = llama_folder(tmp_path_factory.mktemp("llama") / "tied", tie_word_embeddings=True)
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("freeze", ["true", "false"])
def test_a_run_with_tied_embeddings_resumes_and_its_checkpoint_loads(
    tmp_path: Path, datasets: dict[str, Any], tied: Path, freeze: str
) -> None:
    model = [f"model.llama_model={tied}", f"model.freeze_llama={freeze}", "model.llama_precision=auto"]
    whole = train(tmp_path / "whole", datasets, *OPTIONS, *model, "run.max_epoch=2")
    train(tmp_path / "run", datasets, *OPTIONS, *model, "run.max_epoch=1")
    resumed = train(tmp_path / "run", datasets, *OPTIONS, *model, "run.max_epoch=2")
    assert [record["step"] for record in resumed.steps] == [1, 2, 3, 4]
    assert resumed.losses == whole.losses
    saved = resumed.checkpoint(1)["model"]
    assert (TABLE in saved) == (freeze == "false")
    again = build_tiny([*model, f"model.ckpt={tmp_path / 'run' / 'checkpoint_1.pth'}"])
    expected = weights_of(resumed.runner)
    loaded = {name: tensor for name, tensor in expected.items() if name in saved}
    state = {name.replace(".base_layer.", "."): tensor for name, tensor in again.state_dict().items()}
    assert len(loaded) > 100
    assert all(torch.equal(state[name], tensor) for name, tensor in loaded.items())
