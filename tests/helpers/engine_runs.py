"""Runs of the real runner with some strategies: two epochs at once, and one after the other.

Run by torchrun with a folder that holds `datasets.json`, and the strategies.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from helpers.training import STEADY, train
from timechat import distributed

OPTIONS = ("run.iters_per_epoch=4", "run.accum_grad_iters=2", "run.clip_grad_norm=1.0", *STEADY)


def main(folder: Path, strategies: list[str]) -> None:
    """Train; what the runs wrote is the result."""
    distributed.init_process_group(torch.device("cpu"))
    datasets = json.loads((folder / "datasets.json").read_text())
    for strategy in strategies:
        options = (*OPTIONS, f"run.strategy={strategy}")
        run = train(folder / strategy / "full", datasets, *options, "run.max_epoch=2")
        assert run.runner.engine.name == strategy
        for epochs in (1, 2):
            train(folder / strategy / "resumed", datasets, *options, f"run.max_epoch={epochs}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
