"""Convert annotations, as downloaded or your own, to instructions and to what a benchmark reads.

timechat data convert mine moments.csv --output data/mine/train.json
timechat data convert qvhighlights highlight_train_release.jsonl --output data/TimeIT/qvhighlights.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from timechat.cli.common import run_main
from timechat.cli.data.arguments import a_path, add_workers
from timechat.data.convert import Conversion, convert, told
from timechat.data.sources import SOURCES


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat data convert",
        description="Annotations -> instructions for training (--output) and rows for evaluation (--eval-output).",
        epilog=_listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="one of those below")
    add("path", metavar="IN", type=a_path, help="its file or folder, which is only read")
    add("--output", type=a_path, metavar="FILE", help="the instructions: .json, a list, or .jsonl, one item a line")
    add("--eval-output", type=a_path, metavar="FILE", help="the same for `timechat evaluate --anno-path`")
    add("--task", help="one of the source's tasks (default: the first one)")
    add("--split", help="one of the source's splits (default: the first one)")
    add("--videos", metavar="PATH", help="path of a video, such as '{id}.mp4' (default: as below)")
    add("--ids", type=a_path, metavar="FILE", help="other ids of the videos: JSON {id: id}, or two columns")
    add("--text-only", choices=("drop", "keep"), default="drop", help="items without video or picture (default: drop)")
    add("--seed", type=int, default=0, help="of the choice among six questions (default: %(default)s)")
    add_workers(parser)
    add("--strict", action="store_true", help="stop if anything in IN is broken, instead of leaving it out")
    return parser


def _listing() -> str:
    lines = ["sources, their tasks and splits, and where their videos are taken to be:"]
    for source in SOURCES.values():
        splits = f"; splits: {', '.join(source.splits)}" if source.splits else ""
        lines += [f"  {source.name}: {source.words}", f"    tasks: {', '.join(source.tasks)}{splits}"]
        lines += [f"    videos: {', '.join(dict.fromkeys(source.videos.values()))}"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, print what was done; returns the exit status."""

    def run() -> None:
        arguments = vars(build_parser().parse_args(argv))
        asked = Conversion(**{**arguments, "text_only": arguments["text_only"] == "keep"})
        sys.stdout.write(told(asked, convert(asked)))

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
