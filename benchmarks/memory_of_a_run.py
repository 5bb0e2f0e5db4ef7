"""Does the memory of a run grow with its length? A tiny training of some hundred steps, with checkpoints and epochs.

    python benchmarks/memory_of_a_run.py

What is allocated once (optimizer states, caches, the first checkpoint) is there after the first third; what comes on
top later would keep coming.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.training import build, make_videos

from timechat.runners import Runner

EPOCHS, STEPS = 6, 60  # in each epoch
INTERVAL = 30
FLOOR_MB = 16.0  # growth from a third of the run to its end
OPTIONS = (
    f"run.max_epoch={EPOCHS}", f"run.iters_per_epoch={STEPS}", "run.num_workers=1", "run.save_every_steps=20",
    "run.log_freq=10",
)  # fmt: skip


def megabytes() -> tuple[float, float]:
    """Memory in use: of this process, and of its workers together."""
    process = psutil.Process(os.getpid())
    return process.memory_info().rss / 1e6, sum(child.memory_info().rss for child in process.children()) / 1e6


def measure(runner: Runner) -> list[float]:
    """Train; memory of this process and its workers after every INTERVAL steps."""
    seen: list[float] = []
    step = runner.step

    def measured(*args: object) -> None:
        step(*args)
        done = args[-1] + 1
        if done % INTERVAL == 0:
            own, workers = megabytes()
            seen.append(own + workers)
            sys.stdout.write(f"step {done}: {own:.0f} MB, workers {workers:.0f} MB\n")

    runner.step = measured
    runner.train()
    return seen


def main() -> int:
    """Print the figures; the exit status is 1 when memory grows by more than the floor."""
    with tempfile.TemporaryDirectory() as folder:
        entry = make_videos(Path(folder) / "videos")
        seen = measure(build(Path(folder) / "run", {"tv": entry}, *OPTIONS))
    growth = max(seen[-3:]) - seen[len(seen) // 3]
    sys.stdout.write(f"{growth:+.1f} MB in the last two thirds of {EPOCHS * STEPS} steps (floor {FLOOR_MB:.0f} MB)\n")
    return int(growth > FLOOR_MB)


if __name__ == "__main__":
    sys.exit(main())
