"""A folder that belongs to an earlier run: what is refused, and what is advised."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from timechat.errors import CheckpointError, ConfigError
from timechat.runners.checkpointing import FILE, Checkpoints
from timechat.runners.resume import find_resume_point


def config(resume: str) -> DictConfig:
    """The keys that say from where a run goes on."""
    return OmegaConf.create({"run": {"resume": resume, "resume_ckpt_path": None}})


def used(folder: Path, *, epochs: int = 0) -> Checkpoints:
    """A folder with a checkpoint and the files of some epochs."""
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.begin(4)
    checkpoints.finish(4, {"model": {}})
    for epoch in range(epochs):
        checkpoints.name_epoch(epoch, 4)
    return checkpoints


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_used_folder_is_refused_and_its_newest_checkpoint_advised(tmp_path: Path, epochs: int) -> None:
    checkpoints = used(tmp_path, epochs=epochs)
    with pytest.raises(ConfigError, match=r"holds step_00000004 of an earlier run: .* resume with run\.resume=auto$"):
        find_resume_point(config("never"), checkpoints)


def test_where_everything_is_damaged_no_start_begins_anew_unasked(tmp_path: Path) -> None:
    checkpoints = used(tmp_path)
    (checkpoints.folder_of(4) / FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint is intact"):
        find_resume_point(config("auto"), checkpoints)
    with pytest.raises(ConfigError, match=r"holds step_00000004\.damaged of an earlier run: .* remove .*checkpoints"):
        find_resume_point(config("auto"), checkpoints)


def test_a_path_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run\.resume=.*nowhere: no such file; correct the path, or leave"):
        find_resume_point(config(str(tmp_path / "nowhere")), Checkpoints(tmp_path, keep=1))


def test_an_unused_folder_begins_anew(tmp_path: Path) -> None:
    assert find_resume_point(config("auto"), Checkpoints(tmp_path, keep=1)) is None
