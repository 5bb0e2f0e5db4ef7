"""Arguments of every command that scores: which benchmark, which of its questions, and what the page shows."""

from __future__ import annotations

import argparse

from timechat.cli.common import path
from timechat.evaluation.benchmarks.options import options_help
from timechat.registry import registry


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """--benchmark and where its annotations are."""
    add = parser.add_argument
    add("--benchmark", required=True, metavar="NAME", help=", ".join(registry.names("benchmark")))
    add("--anno-path", required=True, type=path, metavar="FILE", help="annotations in the benchmark's own format")


def add_scoring_arguments(parser: argparse.ArgumentParser, fewer: str = "the others do not count") -> None:
    """What is scored and what the page shows; `fewer` says what becomes of the other questions."""
    add = parser.add_argument
    add("--limit", type=int, metavar="N", help=f"only the first N questions; {fewer}")
    add("--ids", type=path, metavar="FILE|ID,ID", help=f"only these questions, FILE has one id per line; {fewer}")
    add(
        "--train-anno",
        type=path,
        metavar="FILE",
        help="annotations of the train split, for the control 'constant answer'",
    )
    add(
        "--benchmark-options",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"options of the benchmark itself: {options_help()}".replace("%", "%%"),
    )
    add("--bootstrap", type=int, default=0, metavar="N", help="N resamples of videos for 95%% confidence intervals")
    add("--no-literature", dest="literature", action="store_false", help="no published numbers in the report")
