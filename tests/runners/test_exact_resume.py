"""Killed at any moment and started again, a run ends as if nothing had happened: to the last bit."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.interruptions import (
    DROPOUT,
    LONG,
    NAMES,
    NO_DROPOUT,
    PLAIN,
    RANDOM,
    Case,
    at_call,
    at_step,
    die,
    half_written,
    signals,
)
from helpers.training import read_lines

from timechat.runners import Runner

pytestmark = pytest.mark.forks

FOLDER = "step_0000000"
# The step after which the run goes on, and how it was interrupted.
KILLS: dict[str, tuple[int, Callable[[Runner], None]]] = {
    "between steps": (1, at_step(2, die)),
    "between steps of epoch 2": (4, at_step(5, die)),
    "inside the write": (1, half_written(2)),
    "inside the write of the first": (0, half_written(1)),
    "while it is brought to the disk": (3, at_call(os, "open", f".{FOLDER}4.tmp/manifest.json", before=True)),
    "before the rename": (4, at_call(os, "replace", f"checkpoints/{FOLDER}5", before=True)),
    "behind the rename": (5, at_call(os, "replace", f"checkpoints/{FOLDER}5", before=False)),
    "before an epoch's name": (3, at_call(os, "replace", "checkpoint_0.pth", before=True)),
    "before the last epoch's name": (6, at_call(os, "replace", "checkpoint_1.pth", before=True)),
    "while old ones are removed": (5, at_call(shutil, "rmtree", f"{FOLDER}2.old.tmp", before=True)),
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(base: Path, whole: Callable, kill: str) -> None:
    after, interruption = KILLS[kill]
    case = Case(base / "videos", base / kill.replace(" ", "_"), (*LONG, *DROPOUT))
    assert case.run(interruption) == [-signal.SIGKILL]
    (first,) = case.drawn()
    assert case.run() == [0], case.said()
    expected = whole(*DROPOUT)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}
    # What was drawn after the checkpoint was drawn for nothing.
    assert first[: 2 * after] + case.drawn()[0] == expected["drawn"][0]
    assert (f"resuming after step {after}\n" in case.said()) == (after > 0)
    names = {path.name for path in case.output.rglob("*")}
    assert {"checkpoint_0.pth", "checkpoint_1.pth"} <= names
    assert not [name for name in names if name.endswith(".tmp")]


@pytest.mark.parametrize(("workers", "world"), [(2, 1), (0, 2), (2, 2)])
def test_with_workers_and_on_two_processes(base: Path, whole: Callable, workers: int, world: int) -> None:
    """One process dies in epoch 2; the other one does not wait forever."""
    options = (*DROPOUT, "run.reference_world_size=1")
    case = Case(
        base / "videos", base / f"workers{workers}_{world}", (*LONG, *options, f"run.num_workers={workers}"), world
    )
    first, *others = case.run(at_step(5, lambda: int(os.environ.get("RANK", 0)) or die()))
    assert first == -signal.SIGKILL
    assert all(status > 0 for status in others)
    before = case.drawn()
    assert case.run() == [0] * world, case.said()
    expected = whole(*options, world=world)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}
    done = 4 * 2 // world
    assert [b[:done] + a for b, a in zip(before, case.drawn(), strict=True)] == expected["drawn"]


# Five micro-batches per epoch in steps of two: the third step has one; on two processes, one sample and a dummy sample.
LEFT_OVER = ("run.iters_per_epoch=5", "run.log_freq=1", "run.reference_world_size=1")


@pytest.mark.parametrize(("world", "kill"), [(1, 3), (1, 4), (2, 3), (2, 6)])
def test_killed_in_or_behind_a_step_of_fewer_micro_batches(base: Path, whole: Callable, world: int, kill: int) -> None:
    case = Case(base / "videos", base / f"left{world}_{kill}", (*LONG, *DROPOUT, *LEFT_OVER), world)
    first, *_ = case.run(at_step(kill, lambda: int(os.environ.get("RANK", 0)) or die()))
    assert first == -signal.SIGKILL
    before = case.drawn()
    assert case.run() == [0] * world, case.said()
    assert f"resuming after step {kill - 1}\n" in case.said()
    expected = whole(*DROPOUT, *LEFT_OVER, world=world)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}
    epochs, step = divmod(kill - 1, 3)
    done = epochs * 5 + step * 2 if world == 1 else kill - 1  # micro-batches of each process
    assert [b[:done] + a for b, a in zip(before, case.drawn(), strict=True)] == expected["drawn"]


def test_one_and_two_processes_agree_where_micro_batches_are_left(whole: Callable) -> None:
    one, two = (whole(*NO_DROPOUT, *LEFT_OVER, world=world, entry=PLAIN) for world in (1, 2))
    drawn = [[[key for record in rank for key in record["keys"]] for rank in run["drawn"]] for run in (one, two)]
    assert len(drawn[0][0]) == 10
    assert sorted(drawn[0][0]) == sorted(drawn[1][0] + drawn[1][1])
    assert [len(keys) for keys in drawn[1]] == [6, 4]
    assert [record["lr"] for record in one["log"]] == [record["lr"] for record in two["log"]]
    losses = [[record["loss"] for record in run["log"]] for run in (one, two)]
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for ours, theirs in zip(one["weights"], two["weights"], strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)


def test_everything_random_was_on(whole: Callable) -> None:
    """Without dropout, random crops or random frames, or with another seed, the run above is another one."""
    cropped, sampled = {**PLAIN, "sample_type": "rand"}, {**RANDOM, "sample_type": "uniform"}
    runs = [
        whole(*DROPOUT),
        whole(*NO_DROPOUT),
        whole(*DROPOUT, entry=cropped),
        whole(*DROPOUT, entry=sampled),
        whole(*DROPOUT, "run.seed=43"),
    ]
    for one, other in itertools.combinations(runs, 2):
        assert one["log"] != other["log"]
        assert one["weights"] != other["weights"]
    assert runs[0]["drawn"] == runs[1]["drawn"]


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "world", "rank", "workers"),
    [
        (signal.SIGTERM, 1, None, 2),
        (signal.SIGINT, 1, None, 2),
        (signal.SIGHUP, 1, None, 0),
        (signal.SIGUSR1, 2, 1, 0),
        (signal.SIGTERM, 2, None, 2),
    ],
)
def test_a_signal_ends_a_run_between_two_steps(
    base: Path, whole: Callable, number: int, world: int, rank: int | None, workers: int
) -> None:
    """Sent to all processes and their workers, or to one process alone: all stop at the same place."""
    options = (*DROPOUT, "run.reference_world_size=1", "run.save_every_steps=null", f"run.num_workers={workers}")
    case = Case(base / "videos", base / f"signal{number}_{world}", (*LONG, *options), world)
    assert case.run(at_step(2, signals(number, workers, rank))) == [0] * world, case.said()
    folder = case.output / "checkpoints" / "step_00000002"
    assert f"stopped by {number.name} after step 2; saved {folder}; resume with the same command" in case.said()
    assert case.run() == [0] * world, case.said()
    expected = whole(*DROPOUT, "run.reference_world_size=1", world=world)
    assert case.result() == {key: expected[key] for key in ("log", "weights")}


# Other numbers of processes -------------------------------------------------------------------------------------------

ONE_PASS = ("run.max_epoch=2", "run.accum_grad_iters=2", "run.reference_world_size=2", "run.log_freq=1", *NO_DROPOUT)


@pytest.mark.parametrize(("world", "other"), [(1, 2), (2, 1)])
def test_on_another_number_of_processes_the_stream_goes_on(base: Path, world: int, other: int) -> None:
    """Two passes of 7 samples in steps of 4: each is drawn once a pass, and the smaller last step is a mean too."""
    alone = Case(base / "videos", base / f"alone{world}", ONE_PASS, 1, PLAIN)
    assert alone.run() == [0], alone.said()
    passes = [key for record in alone.drawn()[0] for key in record["keys"]]
    assert len(passes) == 14
    assert sorted(passes[:7]) == sorted(passes[7:]) == [f"tv[{number}] {name}" for number, name in enumerate(NAMES)]

    case = Case(base / "videos", base / f"elastic{world}", (*ONE_PASS, "run.save_every_steps=1"), world, PLAIN)
    case.run(at_step(4, lambda: int(os.environ.get("RANK", 0)) or die()))
    before = [[key for record in drawn[: 11 if world == 1 else 6] for key in record["keys"]] for drawn in case.drawn()]
    case.world = other
    assert case.run() == [0] * other, case.said()
    assert "resuming after step 3\n" in case.said()
    after = [key for drawn in case.drawn() for record in drawn for key in record["keys"]]
    assert sorted(after) == sorted(passes[11:])
    assert sorted(key for keys in before for key in keys) == sorted(passes[:11])
    results = case.result(), alone.result()
    losses = [[record["loss"] for record in result["log"]] for result in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for ours, theirs in zip(*(result["weights"] for result in results), strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)


def test_processes_that_cannot_share_the_checkpoints_batch_are_told_which_can(base: Path) -> None:
    case = Case(
        base / "videos", base / "three", ("run.iters_per_epoch=2", "run.batch_size_train=2", "run.max_epoch=1"), 2
    )
    assert case.run() == [0, 0]
    case.world = 3
    assert case.run() == [1, 1, 1]
    assert "3 processes cannot share the checkpoint's 4 samples of a step" in case.said()
    assert "start 1, 2 processes" in case.said()


# Damage ---------------------------------------------------------------------------------------------------------------


def _cut(folder: Path) -> None:
    os.truncate(folder / "checkpoint.pth", 100)


def _flip(folder: Path) -> None:
    content = bytearray((folder / "checkpoint.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint.pth").unlink()  # the epoch's file is the same file
    (folder / "checkpoint.pth").write_bytes(content)


@pytest.fixture(scope="module")
def saved(base: Path) -> Path:
    """A run of three steps with a checkpoint after each."""
    case = Case(base / "videos", base / "saved", (*LONG, *DROPOUT))
    case.run(at_step(4, die))
    return case.output


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut, "has 100 bytes, not"),
        (_flip, "SHA-256 differs"),
        (lambda folder: (folder / "manifest.json").unlink(), "is incomplete"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: is damaged"),
        (lambda folder: (folder / "checkpoint.pth").unlink(), "is incomplete"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    base: Path, saved: Path, whole: Callable, damage: Callable, said: str, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoints" / "step_00000003")
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT))
    assert case.run() == [0], case.said()
    for part in ("step_00000003", said, "using the checkpoint before it", "resuming after step 2\n"):
        assert part in case.said()
    assert case.result() == {key: whole(*DROPOUT)[key] for key in ("log", "weights")}


def test_what_stays_of_the_checkpoints(saved: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run")
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, "run.keep_checkpoints=2"))
    assert case.run() == [0]
    folders = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert folders == ["step_00000005", "step_00000006"]
    last = tmp_path / "run" / "checkpoints" / folders[-1] / "checkpoint.pth"
    assert last.samefile(tmp_path / "run" / "checkpoint_1.pth")
    events = [record for record in read_lines(tmp_path / "run" / "log.jsonl") if record["event"] == "checkpoint"]
    assert [(record["step"], record["path"]) for record in events if record["step"] > 3] == [
        (4, "checkpoints/step_00000004"),
        (5, "checkpoints/step_00000005"),
        (6, "checkpoint_1.pth"),
    ]
    assert all(record["seconds"] > 0 for record in events)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("run.seed=7",), 1, "run.seed: 42 then, 7 now"),
        (("model.lora_dropout=0.25",), 1, "model.lora_dropout: 0.5 then, 0.25 now"),
        (("datasets.tv.sample_type=uniform",), 1, "datasets.tv.sample_type: rand then, uniform now"),
        (("run.resume=never",), 1, "of an earlier run: give another folder"),
        (("run.resume=checkpoints/step_00000002",), 1, "later than the checkpoint to resume from (after step 2)"),
        (("run.resume=checkpoints/step_00000003", "run.seed=7"), 0, "run.seed: 42 then, 7 now"),
        (("run.log_freq=1", "run.num_workers=1", "run.keep_checkpoints=1"), 0, "resuming after step 3"),
    ],
)
def test_resuming_with_other_settings(
    base: Path, saved: Path, tmp_path: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    shutil.copytree(saved, tmp_path / "run")
    options = tuple(option.replace("=checkpoints/", f"={tmp_path}/run/checkpoints/") for option in options)
    case = Case(base / "videos", tmp_path / "run", (*LONG, *DROPOUT, *options))
    assert case.run() == [status]
    assert said in case.said()
