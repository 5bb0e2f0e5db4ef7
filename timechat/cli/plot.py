"""Draw a training run, or several in one folder: loss, learning rate and speed from each log.jsonl.

timechat plot runs/stage2
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from timechat.cli.common import path, run_main
from timechat.errors import PredictionError
from timechat.runners.logs import LOG_FILE

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.png"
_CURVES = {"loss": "training loss", "lr": "learning rate", "videos_per_s": "videos per second"}


def read_training_records(run_dir: str | Path) -> list[dict[str, Any]]:
    """The training records of a run, in order; those of steps that were trained again later are left out.

    Raises:
        PredictionError: there is no log, or it has no training record.
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
            records = [kept for kept in records if kept["step"] <= record.get("step", 0)]
        elif record["event"] == "train":
            records.append(record)
    if not records:
        raise PredictionError(f"{path}: has no training record yet")
    return records


def runs_in(folder: str | Path) -> list[Path]:
    """The run itself, or the runs in this folder, such as the stages of a training, in order of their names.

    Raises:
        PredictionError: there is no log in the folder, nor in any folder in it.
    """
    folder = Path(folder)
    if (folder / LOG_FILE).is_file():
        return [folder]
    stages = sorted(path.parent for path in folder.glob(f"*/{LOG_FILE}"))
    if not stages:
        raise PredictionError(f"{folder / LOG_FILE}: no such log; is {folder} the output_dir of a training run?")
    return stages


def plot_run(run_dir: str | Path) -> Path:
    """Draw the curves of a run, or one row of them for each of its stages, into `curves.png` in its folder.

    Returns:
        The path of the picture.

    Raises:
        PredictionError: there is no log.
    """
    runs = runs_in(run_dir)
    figure, axes = plt.subplots(len(runs), 3, figsize=(12, 0.7 + 2.5 * len(runs)), layout="constrained", squeeze=False)
    for row, run in zip(axes, runs, strict=True):
        _draw_curves(row, read_training_records(run), run.name if len(runs) > 1 else "")
    path = Path(run_dir) / CURVES_FILE
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _draw_curves(axes: Sequence[Axes], records: Sequence[dict[str, Any]], stage: str) -> None:
    steps = [record["step"] for record in records]
    for axis, (key, title) in zip(axes, _CURVES.items(), strict=True):
        axis.plot(steps, [record[key] for record in records], color="#3366aa")
        axis.set_title(f"{stage}: {title}" if stage else title, fontsize=10)
        axis.set_xlabel("optimizer step")
        axis.grid(alpha=0.3)
    axes[0].set_ylim(bottom=0)
    logger.info(
        "%s: %d records, loss %.3f -> %.3f", stage or "run", len(records), records[0]["loss"], records[-1]["loss"]
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="timechat plot", description="Draw loss, learning rate and speed of a training run."
    )
    parser.add_argument("run_dir", type=path, help="the run's output_dir")
    args = parser.parse_args(argv)
    return run_main(lambda: plot_run(args.run_dir))


if __name__ == "__main__":
    sys.exit(main())
