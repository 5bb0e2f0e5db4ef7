"""`timechat data compress`: smaller copies of videos, as the published recipes read them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.cli.data.arguments import add_encoding, add_running, encoding_of, running_of
from timechat.data.compress import videos_of
from timechat.data.encoding import Encoding
from timechat.data.video_jobs import Summary, run_jobs


def main(argv: Sequence[str] | None = None) -> int:
    """Compress a folder; returns the exit status, 1 if a video failed."""
    args = _parser().parse_args(argv)
    summaries: list[Summary] = []

    def run() -> None:
        folder, output = Path(args.videos), Path(args.output)
        found = videos_of(folder, output)
        summaries.append(run_jobs(found.jobs, output, encoding_of(args), running_of(args)))
        lines = [*summaries[0].lines(output), *found.lines()]
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    return run_main(run) or int(any(summary.failed for summary in summaries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data compress",
        description="Make smaller copies of all videos of a folder: fewer frames, smaller pictures, no sound. Names "
        "and sub-folders stay, times too. Finished files are kept when the command is run again.",
    )
    parser.add_argument("videos", type=path, help="folder of the original videos, which are not changed")
    parser.add_argument("output", type=path, help="folder of the smaller ones")
    add_encoding(parser, Encoding(fps=6.0, short_side=224, crf=23))
    add_running(parser)
    return parser
