"""A checkpoint to resume from may come from anywhere: no code in it is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_dataset
from helpers.training import build

from timechat.errors import CheckpointError


class Hostile:
    """Unpickling it would run a command."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("place", ["model", "optimizer", "config"])
def test_a_checkpoint_with_code_is_not_resumed(tmp_path: Path, place: str) -> None:
    path, trace = tmp_path / "checkpoint_0.pth", tmp_path / "executed"
    content = {"model": {"query_tokens": torch.ones(1, 8, 48)}, "epoch": 0} | {place: Hostile(trace)}
    torch.save(content, path)
    entry = {"builder": "video_instruct", "build_info": tiny_dataset(tmp_path / "data", frames=4)}
    with pytest.raises(CheckpointError, match=r"run\.resume_ckpt_path=.*checkpoint_0\.pth: refused, .* contains code"):
        build(tmp_path / "out", {"mine": entry}, f"run.resume_ckpt_path={path}")
    assert not trace.exists()
