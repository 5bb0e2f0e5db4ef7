"""Draw a training run: loss, learning rate and speed from its log.jsonl.

python -m timechat.tools.plot_run runs/quickstart
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from timechat.cli import run_main
from timechat.errors import PredictionError
from timechat.runners.logs import LOG_FILE

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.png"


def read_training_records(run_dir: str | Path) -> list[dict[str, Any]]:
    """The records of the run's stretches, in order; those of an earlier start that were trained again are left out.

    Raises:
        PredictionError: there is no log, or it holds no training record.
    """
    path = Path(run_dir) / LOG_FILE
    if not path.is_file():
        raise PredictionError(f"{path}: no such log; is {run_dir} the output_dir of a training run?")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise PredictionError(
                f"{path}:{number}: not valid JSON ({error}); was the run killed while writing?"
            ) from error
        if record["event"] == "start":
            records = [kept for kept in records if kept["epoch"] < record["epoch"]]
        elif record["event"] == "train":
            records.append(record)
    if not records:
        raise PredictionError(f"{path}: holds no training record yet")
    return records


def plot_run(run_dir: str | Path) -> Path:
    """Draw the curves of a run into `curves.png` in its folder; returns the path. Raises PredictionError."""
    records = read_training_records(run_dir)
    updates = [record["update"] for record in records]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    for axis, key, title in zip(
        axes, ("loss", "lr", "videos_per_s"), ("training loss", "learning rate", "videos per second"), strict=True
    ):
        axis.plot(updates, [record[key] for record in records], color="#3366aa")
        axis.set_title(title)
        axis.set_xlabel("update")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(bottom=0)
    path = Path(run_dir) / CURVES_FILE
    figure.savefig(path, dpi=120)
    plt.close(figure)
    logger.info(
        "drew %s from %d records, loss %.3f -> %.3f", path, len(records), records[0]["loss"], records[-1]["loss"]
    )
    return path


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Draw loss, learning rate and speed of a training run.")
    parser.add_argument("run_dir", help="the run's output_dir")
    args = parser.parse_args(argv)
    return run_main(lambda: plot_run(args.run_dir) and None)


if __name__ == "__main__":
    sys.exit(main())
