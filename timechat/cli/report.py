"""Print finished evaluations side by side.

timechat report runs/eval/timechat/timechat_7b/*
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from timechat.cli.common import path, run_main
from timechat.evaluation.comparison import compare
from timechat.evaluation.report import read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="timechat report", description="Print finished evaluations side by side.")
    parser.add_argument("folders", nargs="+", type=path, metavar="DIR", help="output folder of an evaluation")
    folders = parser.parse_args(argv).folders
    return run_main(lambda: sys.stdout.write(compare({folder: read_record(folder) for folder in folders})))


if __name__ == "__main__":
    sys.exit(main())
