"""Print finished evaluations side by side, and test whether two of the same benchmark differ.

timechat report runs/eval/timechat/timechat_7b/*
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from timechat.cli.common import path, run_main
from timechat.evaluation.comparison import compare
from timechat.evaluation.record import read_question_scores
from timechat.evaluation.report import read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="timechat report", description="Print finished evaluations side by side.")
    parser.add_argument("folders", nargs="+", type=path, metavar="DIR", help="output folder of an evaluation")
    folders = parser.parse_args(argv).folders

    def run() -> None:
        records = {folder: read_record(folder) for folder in folders}
        sys.stdout.write(compare(records, {folder: read_question_scores(folder) for folder in folders}))

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
