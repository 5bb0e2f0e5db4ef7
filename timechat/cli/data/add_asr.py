"""`timechat data add-asr`: what is said in the videos, before the questions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.data.add_asr import add_speech, describe


def main(argv: Sequence[str]) -> int:
    """Add speech; returns the exit status."""
    args = _parser().parse_args(argv)

    def run() -> None:
        added = add_speech(Path(args.annotations), Path(args.asr), Path(args.output))
        sys.stdout.write("".join(f"{line}\n" for line in describe(added, Path(args.output))))

    return run_main(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data add-asr",
        description="Put at most 15 sentences, spread evenly over the video, before the first question of each item, "
        "in the form of TimeIT's instructions with speech. Items without a transcript stay as they are.",
    )
    parser.add_argument("annotations", type=path, help="annotation file: a JSON list, or JSON lines")
    about = "folder of VIDEO.tsv (timechat data asr), .srt, .vtt or Whisper's .json"
    parser.add_argument("--asr", type=path, required=True, help=about)
    parser.add_argument("--output", type=path, required=True, help="file to write: .json, or .jsonl")
    return parser
