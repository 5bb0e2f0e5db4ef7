"""What each of two processes does for tests/runners/test_distributed_guards.py; results go into files.

Run by torchrun with the folder that holds `datasets.json`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from helpers.training import STEADY, build, weights_of
from timechat import distributed
from timechat.errors import TimeChatError
from timechat.runners import Runner

COMMON = ("run.iters_per_epoch=4", "run.save_every_steps=1", "run.seed=3", *STEADY)
WATCHED = ("run.num_workers=1", "run.data_timeout_s=4", *COMMON)
VALIDATED = (*WATCHED, "run.iters_per_epoch=1", "run.valid_splits=[val]")
HANGS = "hangs.mp4"


def plant(runner: Runner, steps: set[int]) -> None:
    """A loss that is not finite, only on the second process."""
    step, done = runner.task.train_step, iter(range(100))

    def planted(model: Any, batch: Any) -> torch.Tensor:
        bad = next(done) in steps and distributed.rank() == 1
        return step(model, batch) * (math.nan if bad else 1.0)

    runner.task.train_step = planted


def slow(load: Callable, path: str, generator: torch.Generator) -> Any:
    """Reads all files but one."""
    if path.endswith(HANGS):
        time.sleep(600)
    return load(path, generator)


def run(output: Path, datasets: dict[str, Any], options: tuple[str, ...], bad: set[int] = frozenset()) -> Any:
    """Train; the error that ended it, if one did, and the weights."""
    runner = build(output, datasets, *options)
    plant(runner, bad)
    for dataset in (*runner.datasets, *runner.validation.datasets):
        dataset.load = partial(slow, dataset.load)
    try:
        runner.train()
    except TimeChatError as error:
        return {"error": f"{type(error).__name__}: {error}", "weights": weights_of(runner)}
    return {"error": None, "weights": weights_of(runner)}


def main(folder: Path) -> None:
    """Do everything, one after the other."""
    datasets = json.loads((folder / "datasets.json").read_text())
    fine, hung = datasets["fine"], datasets["hung"]
    results = {
        "one_bad": run(folder / "one_bad", fine, COMMON, {1}),
        "too_many": run(folder / "too_many", fine, ("run.max_nonfinite=2", *COMMON), {1, 2}),
        "hangs": run(folder / "hangs", hung, WATCHED),
        "resumed": run(folder / "hangs", hung, WATCHED),
        "valid": run(folder / "valid", fine, VALIDATED),
        "valid_resumed": run(folder / "valid", fine, VALIDATED),
    }
    torch.save(results, folder / f"rank{distributed.rank()}.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
