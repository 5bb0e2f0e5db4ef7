"""How long training stands still for a checkpoint."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.measure import Patience, Timing, in_child, median, timed
from benchmarks.speed.rows import MIB, Cost, Row
from benchmarks.speed.sizes import Bench, batch
from benchmarks.speed.subjects.training import RATE, make_runner
from timechat.models.checkpoints import trainable_state_dict
from timechat.runners import Runner
from timechat.runners.checkpointing import FILE

ENOUGH_S = 120.0  # for a file to be on the disk


def checkpoint(bench: Bench, patience: Patience) -> Iterator[Row]:
    """A save between two steps; the reference is `torch.save` of the same numbers and a sync to the disk."""
    times, size, until_there = in_child(partial(_saves, bench, patience), patience.threads).value
    note = (
        f"weights that learn and AdamW's moments; {until_there:.2f} s until the checkpoint is whole; the reference is "
        "torch.save and fsync, without a hash or a rename; the floor is a file of the same size, written and synced"
    )
    this, eager, floor = (times[name] for name in ("this", "eager", "floor"))
    what = f"checkpoint stall, {size / MIB:.0f} MiB"
    yield Row(what, Cost(*this), Cost(*eager), floor, "bytes to the disk", note)


def _saves(bench: Bench, patience: Patience) -> tuple[dict[str, Timing], int, float]:
    """Median times, the size of a checkpoint in bytes, and seconds until one was on the disk."""
    runner = make_runner(bench, "run.keep_checkpoints=1")
    samples = batch(runner.engine.unwrap(), bench.size.frames, bench.size.tokens)
    runner.step([samples], RATE, 0)
    runs: dict[str, list[Timing]] = {"this": [], "eager": [], "floor": []}
    waits, size = [], 0
    for step in range(1, 1 + patience.least):
        runner.steps = step
        started = time.perf_counter()
        runs["this"].append(timed(runner.save))
        file = runner.checkpoints.folder_of(step) / FILE
        while not file.exists() and time.perf_counter() - started < ENOUGH_S:
            time.sleep(0.01)
        waits.append(time.perf_counter() - started)
        size = file.stat().st_size
        runs["eager"].append(timed(partial(_plain_save, runner, bench)))
        runs["floor"].append(timed(partial(_write, os.urandom(size), bench)))
    return {name: median(of_one) for name, of_one in runs.items()}, size, statistics.median(waits)


def _plain_save(runner: Runner, bench: Bench) -> None:
    state: dict[str, Tensor] = trainable_state_dict(runner.engine.unwrap())
    path = bench.folder / "plain.pth"
    torch.save({"model": state, "optimizer": runner.engine.optimizer.state_dict()}, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write(content: bytes, bench: Bench) -> None:
    with (bench.folder / "bytes").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
