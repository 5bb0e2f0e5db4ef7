"""`timechat data clip`: cuts clips out of videos, exact to a frame."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.cli.data.arguments import add_encoding, add_running, encoding_of, running_of
from timechat.data.clips import COLUMNS, read_clips
from timechat.data.encoding import Encoding
from timechat.data.video_jobs import Summary, run_jobs


def main(argv: Sequence[str] | None = None) -> int:
    """Cut all clips of an annotation file; returns the exit status, 1 if one failed or an entry is wrong."""
    args = _parser().parse_args(argv)
    summaries: list[Summary] = []
    wrong = False

    def run() -> None:
        nonlocal wrong
        found, output = read_clips(Path(args.annotations)), Path(args.output)
        wrong = bool(found.problems)
        jobs = found.jobs(Path(args.videos), output)
        summaries.append(run_jobs(jobs, output, encoding_of(args), running_of(args)))
        lines = [*summaries[0].lines(output), *found.lines()]
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    return run_main(run) or int(wrong or any(summary.failed for summary in summaries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data clip",
        description="Cut the clips that annotations name out of whole videos, re-encoded, without sound. A clip shows "
        "what a player shows from its start to its end. Clips that are there are kept. Entries that are wrong are left "
        "out and printed; the exit status is 1 then, as for clips that fail.",
    )
    parser.add_argument(
        "annotations",
        type=path,
        help=f"HiREST's all_data_SPLIT.json, Valley's or VATEX's JSON, or CSV with the columns {', '.join(COLUMNS)}",
    )
    parser.add_argument("videos", type=path, help="folder of the whole videos, which are not changed")
    parser.add_argument("output", type=path, help="folder of the clips")
    add_encoding(parser, Encoding())
    add_running(parser)
    return parser
