"""Score a file of predictions, whoever made them: no model, no videos, seconds.

timechat score --benchmark charades_sta --predictions my_model.jsonl \\
    --anno-path data/Charades/charades_annotation/charades_sta_test.txt
"""

from __future__ import annotations

import argparse
import sys

from timechat.cli.benchmark_arguments import add_benchmark_arguments, add_scoring_arguments
from timechat.cli.common import path, run_main
from timechat.evaluation.benchmarks.options import parse_options
from timechat.evaluation.prediction_files import FORMS
from timechat.evaluation.report import score_table
from timechat.evaluation.scoring import score


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="timechat score", description="Score a file of predictions of any model.")
    add = parser.add_argument
    add_benchmark_arguments(parser)
    add(
        "--predictions",
        required=True,
        type=path,
        metavar="FILE",
        help=".json or .jsonl, gzipped or not, or a folder with predictions.jsonl or .json files",
    )
    add("--output-dir", type=path, metavar="DIR", help="gets scores.json, report.md and the parsed predictions")
    add("--videos-dir", type=path, metavar="DIR", help="folder of videos, for pictures; needs --output-dir")
    add("--format", dest="form", metavar="FORM", help=f"{', '.join(FORMS)} (default: what the file holds)")
    add("--prompt-file", type=path, metavar="FILE", help="what was asked: its example, repeated, is no answer")
    add_scoring_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, score, print; returns the exit status."""

    def run() -> None:
        arguments = vars(build_parser().parse_args(argv))
        arguments["benchmark_options"] = parse_options(arguments["benchmark_options"], arguments["benchmark"])
        sys.stdout.write(score_table(score(**arguments)))

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
