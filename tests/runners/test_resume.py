"""A folder that belongs to an earlier run: what is refused, and what is advised."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.training import build, make_videos, train
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
    checkpoints.begin(4, {"model": {}})
    checkpoints.finish(4)
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


def test_resized_weights_have_a_new_optimizer_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With more frame positions the old ones' state fits nothing; that of all other weights goes on."""
    datasets = {"tv": make_videos(tmp_path / "videos")}
    options = ("run.iters_per_epoch=2", "run.save_every_steps=1")
    train(tmp_path / "first", datasets, *options)
    path = tmp_path / "first" / "checkpoints" / "step_00000001"
    runner = build(tmp_path / "second", datasets, *options, f"run.resume={path}", "model.max_frame_pos=16")
    assert (
        "has another shape of video_frame_position_embedding.weight, whose optimizer state starts anew" in caplog.text
    )
    parameters = [p for group in runner.engine.optimizer.param_groups for p in group["params"]]
    steps = {
        name: runner.engine.optimizer.state[parameter].get("step")
        for name, parameter in zip(runner.optimized, parameters, strict=True)
        if parameter in runner.engine.optimizer.state
    }
    assert set(runner.optimized) - steps.keys() == {"video_frame_position_embedding.weight"}
    runner.train()
    assert runner.steps == 2
    assert (tmp_path / "second" / "checkpoint_0.pth").is_file()
