"""What a cluster does to a run: mounts that vanish, full disks, files that stay, signals; nothing learned is lost."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.interruptions import (
    ANNOTATIONS,
    DROPOUT,
    LONG,
    Case,
    PixelsTask,
    at_step,
    die,
    make_gradients,
)
from helpers.training import read_lines

from timechat import distributed
from timechat.datasets.worker_signals import STOP_SIGNALS
from timechat.runners import Runner, checkpointing
from timechat.runners.engines import StepCheck
from timechat.runners.saving import Saver

pytestmark = pytest.mark.forks

STEADY = (*DROPOUT, "run.reference_world_size=1")
NEVER_SAVED = ("run.save_every_steps=null", "run.save_every_minutes=null")


def on_main(action: Callable[[], None]) -> Callable[[], None]:
    """Only the main process does it."""
    return lambda: None if distributed.rank() else action()


def must_equal(case: Case, expected: dict[str, Any]) -> None:
    """The run learned and logged what it should."""
    assert case.result() == {key: expected[key] for key in ("log", "weights")}


# Stops that save ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_a_mount_that_vanishes_costs_nothing(
    base: Path, whole: Callable, tmp_path: Path, world: int, workers: int
) -> None:
    """Workers read ahead, so the run stops somewhere behind step 2; what it learned by then is there."""
    videos = make_gradients(tmp_path / "videos")
    options = (*LONG, *STEADY, *NEVER_SAVED, f"run.num_workers={workers}")
    case = Case(videos, tmp_path / "run", options, world)
    gone = tmp_path / "gone"
    assert case.run(at_step(2, on_main(lambda: videos.rename(gone)))) == [1] * world
    (folder,) = (case.output / "checkpoints").iterdir()
    assert int(folder.name.removeprefix("step_")) >= 2
    assert "could not be used" in case.said()
    assert f"saved {folder}; resume with the same command" in case.said()
    gone.rename(videos)
    assert case.run() == [0] * world, case.said()
    must_equal(case, whole(*STEADY, world=world))
    assert not read_lines(case.output / "skipped.jsonl")


def test_a_run_that_never_learned_anything_saves_nothing(base: Path, tmp_path: Path) -> None:
    """Another config may follow, which a checkpoint of this one would refuse."""
    videos = make_gradients(tmp_path / "videos")
    for video in videos.glob("*.mp4"):
        video.write_text("no video")
    case = Case(videos, tmp_path / "run", LONG)
    assert case.run() == [1]
    assert "there is nothing to save yet" in case.said()
    assert not (case.output / "checkpoints").exists()


@pytest.mark.parametrize("world", [1, 2])
def test_a_checkpoint_by_the_clock(base: Path, whole: Callable, tmp_path: Path, world: int) -> None:
    """At no time left between two checkpoints, there is one after each step, and none of it shows in the result."""
    by_clock = ("run.save_every_steps=null", "run.save_every_minutes=0")
    case = Case(base / "videos", tmp_path / "run", (*LONG, *STEADY, *by_clock), world)
    assert case.run(at_step(5, on_main(die)))[0] == -signal.SIGKILL
    assert case.run() == [0] * world, case.said()
    assert "resuming after step 4\n" in case.said()
    must_equal(case, whole(*STEADY, world=world))


def test_the_clock_counts_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("timechat.runners.saving.time.monotonic", lambda: now[0])
    saver = Saver(checkpointing.Checkpoints(tmp_path, keep=1))
    due = []
    for now[0] in (1799.0, 1800.0):
        due.append(saver.is_due(2, 30.0))
    assert due == [False, True]
    assert not saver.is_due(0, 30.0)
    assert not saver.is_due(2, None)


@pytest.mark.parametrize(("world", "rank"), [(1, None), (2, None), (2, 1)])
def test_a_signal_while_the_weights_are_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int, rank: int | None
) -> None:
    """Also if only one process got it: status 0, so that a job goes back into the queue, and nothing is written."""
    real = PixelsTask.build_model

    def slow(self: PixelsTask, cfg: Any, load_weights: bool = True) -> Any:
        if rank in (None, distributed.rank()):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        return real(self, cfg, load_weights)

    monkeypatch.setattr(PixelsTask, "build_model", slow)
    case = Case(base / "videos", tmp_path / "run", LONG, world)
    started = time.monotonic()
    assert case.run() == [0] * world, case.said()
    assert time.monotonic() - started < 40
    assert "stopped by SIGINT while the weights were loaded" in case.said()
    assert not (case.output / "checkpoints").exists()


# Signals at any moment ------------------------------------------------------------------------------------------------

RUNS, MOST = 4, 60  # runs that are disturbed, and starts of each; about five are needed
PATIENCE = 1.1  # the time to the latest signal grows by it with each start: a busy machine may need longer to begin


@pytest.mark.parametrize("world", [1, 2])
def test_signals_and_kills_at_random_moments(base: Path, tmp_path: Path, world: int) -> None:
    """While it loads, learns, saves or validates: a signal ends the run with status 0, and all ends as without."""
    valid = f"datasets.tv.build_info.valid_anno_dir={base / 'videos' / ANNOTATIONS}"
    options = (*LONG, *STEADY, "run.valid_splits=[val]", valid)
    undisturbed = Case(base / "videos", tmp_path / "whole", options, world)
    started = time.monotonic()
    assert undisturbed.run() == [0] * world, undisturbed.said()
    duration = time.monotonic() - started
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the run heeds them
    try:
        for seed in range(RUNS):
            case = Case(base / "videos", tmp_path / f"run{seed}", options, world)
            _disturb_until_done(case, random.Random(seed), duration)
            must_equal(case, undisturbed.result())
            assert _losses(case) == _losses(undisturbed)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _disturb_until_done(case: Case, rng: random.Random, duration: float) -> None:
    """Start a run again and again, each time with a signal to all processes or to one, until it is done."""

    def disturb(pids: list[int], latest: float, number: int) -> None:
        time.sleep(rng.uniform(0.0, latest))
        for pid in rng.choice((pids, pids[-1:])):
            os.kill(pid, number)

    for start in range(MOST):
        number = rng.choice((*STOP_SIGNALS, signal.SIGKILL))
        latest = duration * PATIENCE**start
        statuses = case.run(meanwhile=partial(disturb, latest=latest, number=number))
        if number != signal.SIGKILL:
            assert statuses == [0] * case.world, case.said()
        if "stopped by" not in case.said() and statuses == [0] * case.world:
            return
    pytest.fail(f"not done after {MOST} starts, the last with a signal within {latest:.1f} s:\n{case.said()}")


def _losses(case: Case) -> list[tuple[int, float]]:
    """On the validation data, by step."""
    records = [record for record in read_lines(case.output / "log.jsonl") if record["event"] == "valid"]
    return [(record["step"], record["valid_loss"]) for record in records]


# Files ----------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_removed_is_a_warning_and_tried_again(
    base: Path, whole: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, which keeps a removed file that some process has open, and with it the folder."""
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, "run.keep_checkpoints=1"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", _busy)
        assert case.run() == [0], case.said()
    assert "Directory not empty" in case.said()
    assert "tried again later" in case.said()
    must_equal(case, whole(*DROPOUT))
    left = {path.name for path in (case.output / "checkpoints").iterdir()}
    assert ".step_00000005.old.tmp" in left
    assert case.run() == [0], case.said()
    assert {path.name for path in (case.output / "checkpoints").iterdir()} == {"step_00000006"}


def _busy(path: Path, **settings: Any) -> None:
    raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))


def test_nothing_keeps_the_checkpoint_open_that_a_run_resumed_from(base: Path, tmp_path: Path) -> None:
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT))
    case.run(at_step(4, die))

    def must_be_closed(runner: Runner) -> None:
        assert runner.engine.optimizer.state
        assert "checkpoint.pth" not in Path("/proc/self/maps").read_text()
        names = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert not [name for name in names if "checkpoint" in name]

    assert case.run(must_be_closed) == [0], case.said()
    assert "resuming after step 3\n" in case.said()


@pytest.mark.parametrize("world", [1, 2])
def test_a_full_disk_under_the_log(base: Path, whole: Callable, tmp_path: Path, world: int) -> None:
    """The file is named, every process stops, and what can be saved is."""
    case = Case(base / "videos", tmp_path / "run", (*LONG, *STEADY, *NEVER_SAVED), world)
    log = case.output / "log.jsonl"

    def fill() -> None:
        log.rename(tmp_path / "log.jsonl")
        log.symlink_to("/dev/full")

    assert case.run(at_step(2, on_main(fill))) == [1] * world
    for rank in range(world):
        assert f"{log}: cannot be written (No space left on device); is the disk full? after step 2; saved" in (
            case.said(rank)
        )
    log.unlink()
    (tmp_path / "log.jsonl").rename(log)
    assert case.run() == [0] * world, case.said()
    assert "resuming after step 2\n" in case.said()
    assert case.result()["weights"] == whole(*STEADY, world=world)["weights"]


# Where to go on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["resume", "resume_ckpt_path"])
def test_a_run_that_began_with_another_runs_checkpoint_goes_on_from_its_own(
    base: Path, whole: Callable, tmp_path: Path, key: str
) -> None:
    """The same command again, as a job that goes back into the queue starts it."""
    first = Case(base / "videos", tmp_path / "first", (*LONG, *DROPOUT))
    first.run(at_step(3, die))
    named = first.output / "checkpoints" / "step_00000002"
    path = named if key == "resume" else named / checkpointing.FILE
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, f"run.{key}={path}"))
    case.run(at_step(5, die))
    assert "resuming after step 2\n" in case.said()
    assert case.run() == [0], case.said()
    assert "resuming after step 4\n" in case.said()
    assert case.result()["weights"] == whole(*DROPOUT)["weights"]


def test_with_other_settings_the_named_checkpoint_is_meant(base: Path, tmp_path: Path) -> None:
    first = Case(base / "videos", tmp_path / "first", (*LONG, *DROPOUT))
    first.run(at_step(3, die))
    named = f"run.resume={first.output / 'checkpoints' / 'step_00000002'}"
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, named))
    case.run(at_step(5, die))
    case.options = (*case.options, "run.seed=5")
    assert case.run() == [1]
    assert "holds step_00000004, later than the checkpoint to resume from (after step 2)" in case.said()


# NaN ------------------------------------------------------------------------------------------------------------------

TROUBLE = ("run.max_nonfinite=3", "run.keep_checkpoints=1")


def never_finite_from(number: int, runner: Runner) -> None:
    """No gradient is finite in this step and all after it, counted from 1."""
    real = runner.engine.check

    def check(loss: torch.Tensor) -> StepCheck:
        checked = real(loss)
        return checked._replace(finite=checked.finite and runner.steps + 1 < number)

    runner.engine.check = check


def test_the_checkpoint_from_before_the_trouble_is_kept_named_and_resumed(base: Path, tmp_path: Path) -> None:
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, *TROUBLE))
    assert case.run(partial(never_finite_from, 3)) == [1]
    good = case.output / "checkpoints" / "step_00000002"
    assert {path.name for path in good.parent.iterdir()} == {"step_00000002", "step_00000004"}
    way = f"{good}, from before, is intact and finite: resume with run.resume={good} run.output_dir=ANOTHER_FOLDER"
    assert "in 3 steps in a row (run.max_nonfinite), up to step 5" in case.said()
    assert way in case.said()

    options = (f"run.resume={good}", "run.init_lr=0.01")
    other = Case(base / "videos", tmp_path / "other", (*case.options, *options))
    assert other.run() == [0], other.said()
    # From inside the trouble, too: a single step that is not finite is not the third in a row.
    options = (f"run.resume={good.with_name('step_00000004')}", "run.init_lr=0.01")
    third = Case(base / "videos", tmp_path / "third", (*case.options, *options))
    assert third.run(lambda runner: _fail_once(runner)) == [0], third.said()


def _fail_once(runner: Runner) -> None:
    real, left = runner.engine.check, [1]

    def check(loss: torch.Tensor) -> StepCheck:
        left[0] -= 1
        checked = real(loss)
        return checked._replace(finite=checked.finite and left[0] < 0)

    runner.engine.check = check


@pytest.mark.parametrize("world", [1, 2])
def test_weights_that_are_not_finite_are_not_saved(base: Path, tmp_path: Path, world: int) -> None:
    def spoil(runner: Runner) -> None:
        weight = next(runner.engine.unwrap().parameters())
        at_step(2, lambda: weight.data.fill_(math.inf))(runner)

    case = Case(base / "videos", tmp_path / "run", (*LONG, *STEADY, *TROUBLE), world)
    assert case.run(spoil) == [1] * world
    good = case.output / "checkpoints" / "step_00000001"
    assert [path.name for path in good.parent.iterdir()] == ["step_00000001"]
    assert "after step 2, layers.0.weight has NaN or infinite numbers: not saved" in case.said()
    assert f"resume with run.resume={good}\n" in case.said()


def test_checkpoints_that_are_damaged_or_not_finite_are_not_called_good(tmp_path: Path) -> None:
    checkpoints = checkpointing.Checkpoints(tmp_path, keep=9)
    for step, value in ((1, 1.0), (2, 1.0), (3, math.nan)):
        checkpoints.begin(step)
        checkpoints.finish(step, {"model": {"w": torch.tensor([value])}, "optimized": ["w"]})
    assert checkpoints.usable_before(3) == checkpoints.folder_of(2)
    (checkpoints.folder_of(2) / checkpointing.MANIFEST).write_text(json.dumps({"files": {}}))
    assert checkpoints.usable_before(3) == checkpoints.folder_of(1)
    assert checkpoints.usable_before(0) is None
    assert "begin anew" in checkpoints.way_back(0)
