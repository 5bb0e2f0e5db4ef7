"""Draw a training run, or several in one folder: loss, learning rate and speed from each log.jsonl.

timechat plot runs/stage2
"""

from __future__ import annotations

import argparse
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
from timechat.runners.records import read_training_records, runs_in

logger = logging.getLogger(__name__)

CURVES_FILE = "curves.png"
_CURVES = {"loss": "training loss", "lr": "learning rate", "videos_per_s": "videos per second"}


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
