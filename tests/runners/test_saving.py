"""Checkpoints that are written while training goes on: as whole as others, and never two at once."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.interruptions import DROPOUT, LONG, Case, die
from torch import nn

from timechat.runners import Runner
from timechat.runners.checkpointing import FILE, Checkpoints, verify
from timechat.runners.engines import DDPEngine
from timechat.runners.saving import Saver

pytestmark = pytest.mark.forks

STEADY = (*DROPOUT, "run.reference_world_size=1")


def held_back(until: Callable[[Runner], bool], then: Callable[[], None], runner: Runner) -> None:
    """What torch.save writes is not done before something has happened in training; then something else happens."""
    real, go = torch.save, threading.Event()

    def save(content: Any, path: Path) -> None:
        real(content, path)
        if path.name == FILE and "step_00000002" in str(path):
            assert go.wait(60), "training has not gone on"
            then()

    step = runner.engine.step

    def stepped() -> None:
        step()
        if until(runner):
            go.set()

    torch.save, runner.engine.step = save, stepped


def test_training_goes_on_while_a_checkpoint_is_written(base: Path, whole: Callable, tmp_path: Path) -> None:
    """The third step is taken before the second's checkpoint is there; the result is that of any run."""
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT))
    assert case.run(partial(held_back, lambda runner: runner.steps == 2, lambda: None)) == [0], case.said()
    expected = whole(*DROPOUT)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}
    for folder in (case.output / "checkpoints").glob("step_*"):
        verify(folder)


def test_killed_while_it_trains_and_writes(base: Path, whole: Callable, tmp_path: Path) -> None:
    """The checkpoint that was not done is as if it had never been begun, and what it held is learned again."""
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT))
    assert case.run(partial(held_back, lambda runner: runner.steps == 2, die)) == [-signal.SIGKILL]
    assert case.run() == [0], case.said()
    assert "resuming after step 1\n" in case.said()
    expected = whole(*DROPOUT)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("options", [(), ("run.save_every_steps=2",)], ids=["at the next save", "at the next step"])
def test_what_keeps_it_from_being_written_stops_all_processes(
    base: Path, whole: Callable, tmp_path: Path, world: int, options: tuple[str, ...]
) -> None:
    def full(runner: Runner) -> None:
        real = torch.save

        def save(content: Any, path: Path) -> None:
            if "step_00000002" in str(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(content, path)

        torch.save = save

    case = Case(base / "videos", tmp_path / "run", (*LONG, *STEADY, *options), world)
    assert case.run(full) == [1] * world
    for rank in range(world):
        said = case.said(rank)
        assert "TrainingError" in said
        assert "step_00000002: cannot be written ([Errno 28] No space left on device); is the disk full or" in said
    left = [path.name for path in (case.output / "checkpoints").iterdir()]
    assert left == ([] if options else ["step_00000001"])
    assert case.run() == [0] * world, case.said()
    assert case.result()["weights"] == whole(*STEADY, world=world)["weights"]


@pytest.fixture
def engine() -> DDPEngine:
    engine = DDPEngine(torch.device("cpu"), "fp32")
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    engine.prepare(model, torch.optim.AdamW(model.parameters(), lr=1.0, fused=True))
    return engine


def content_of(engine: DDPEngine) -> dict[str, Any]:
    return {"model": engine.model_state(), **engine.state_dict(), "optimized": ["weight"]}


def take_a_step(engine: DDPEngine) -> None:
    engine.backward(engine.model(torch.ones(1, 2)).sum())
    engine.step()


def test_what_is_written_is_what_was_there_when_it_was_taken(
    engine: DDPEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, moments and the counter of steps, although the step after changes all of them in place."""
    real, go = torch.save, threading.Event()
    monkeypatch.setattr(torch, "save", lambda content, path: (go.wait(60), real(content, path)))
    take_a_step(engine)
    expected = json.dumps(content_of(engine), default=lambda tensor: tensor.tolist())
    saver = Saver(Checkpoints(tmp_path, keep=1))
    saver.save(1, lambda: content_of(engine), engine, None, spare=1)
    take_a_step(engine)
    go.set()
    saver.wait()
    found = torch.load(saver.checkpoints.folder_of(1) / FILE, weights_only=True)
    assert json.dumps(found, default=lambda tensor: tensor.tolist()) == expected
    assert json.dumps(content_of(engine), default=lambda tensor: tensor.tolist()) != expected


def test_a_save_that_is_not_done_delays_the_next(
    engine: DDPEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, running, most = torch.save, [0], [0]

    def save(content: Any, path: Path) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        threading.Event().wait(0.05)
        real(content, path)
        running[0] -= 1

    monkeypatch.setattr(torch, "save", save)
    saver = Saver(Checkpoints(tmp_path, keep=2))
    for step in (1, 2, 3):
        saver.save(step, lambda: content_of(engine), engine, None, spare=step)
        assert saver.checkpoints.numbers() == [1, 2][: step - 1]
    saver.close()
    assert saver.checkpoints.numbers() == [2, 3]
    assert most == [1]
