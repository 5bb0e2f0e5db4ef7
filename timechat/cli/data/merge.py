"""Merge files of instructions into one, such as TimeIT-104K.

timechat data merge --recipe timeit_104k --folder data/TimeIT/data --speech \\
    --output data/TimeIT/data/time/instruct_time-sensitive_104k_asr.json
timechat data merge mine/train.json didemo/train.json=50% coin/train.json=2000 --output mixed.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import run_main
from timechat.cli.data.arguments import a_path, add_workers
from timechat.data.merge import file_part, merge, recipe_parts, told
from timechat.errors import ConfigError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat data merge",
        description="Several files of instructions -> one, in a random order; each item says its source.",
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="FILE, FILE=500 (items) or FILE=50%% (of its items; may exceed 100)")
    add("--output", required=True, type=a_path, metavar="FILE", help=".json, a list, or .jsonl, one item a line")
    add("--recipe", metavar="NAME", help="timeit_104k, or a YAML file like it: {sources: [{file, count | share}]}")
    add("--folder", type=a_path, default=Path("data/TimeIT/data"), help="of the recipe's files (default: %(default)s)")
    add("--speech", action="store_true", help="with transcribed speech: NAME_15asr.json where there is one")
    add("--seed", type=int, default=0, help="of the choice and the order (default: %(default)s)")
    add_workers(parser, "processes, each of which reads one file at a time")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Merge, print what was done; returns the exit status."""

    def run() -> None:
        args = build_parser().parse_args(argv)
        parts = recipe_parts(args.recipe, args.folder, args.speech) if args.recipe else []
        parts += [file_part(text) for text in args.files]
        if not parts:
            raise ConfigError("give files, or --recipe timeit_104k")
        sys.stdout.write(told(merge(parts, args.output, args.seed, args.workers), args.output, args.speech))

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
