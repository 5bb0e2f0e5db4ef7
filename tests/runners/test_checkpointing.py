"""Folders of checkpoints: replaced, put back, recognised as damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from timechat.errors import CheckpointError
from timechat.runners import checkpointing
from timechat.runners.checkpointing import FILE, MANIFEST, Checkpoints, verify


def write(checkpoints: Checkpoints, step: int, number: int) -> None:
    """A checkpoint that holds a number."""
    checkpoints.begin(step)
    checkpoints.finish(step, {"number": number})


def content(folder: Path) -> int:
    """The number that a checkpoint holds."""
    verify(folder)
    return torch.load(folder / FILE, weights_only=True)["number"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_checkpoint_that_replaces_one_of_the_same_step_is_never_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Killed before the first, the second or no rename: the old one, or the new one, and never both or none."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    write(checkpoints, 4, 1)
    done = iter(range(renames))
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if next(done, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(checkpointing.os, "replace", killed)
    try:
        write(checkpoints, 4, 2)
    except KeyboardInterrupt:
        assert renames < 2
    monkeypatch.setattr(checkpointing.os, "replace", replace)
    assert content(Checkpoints(tmp_path, keep=1).newest()) == (2 if renames == 2 else 1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000004"]


@pytest.mark.parametrize("files", [{}, {"other.pth": {"bytes": 0, "sha256": ""}}])
def test_a_manifest_that_does_not_name_the_checkpoint_is_damaged(tmp_path: Path, files: dict) -> None:
    write(Checkpoints(tmp_path, keep=1), 4, 1)
    folder = tmp_path / "checkpoints" / "step_00000004"
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
    with pytest.raises(CheckpointError, match=r"manifest\.json: does not list checkpoint\.pth"):
        verify(folder)
