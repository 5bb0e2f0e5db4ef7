"""Arguments that several verbs have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from timechat.cli.common import path
from timechat.data.encoding import Encoding
from timechat.data.video_jobs import Running


def add_target(parser: argparse.ArgumentParser) -> None:
    """What annotations are meant, and where their videos are."""
    parser.add_argument(
        "target", type=path, help="YAML config with datasets, or annotations (JSON, JSON lines, WebVid's CSV)"
    )
    parser.add_argument("--videos-dir", type=path, help="folder of the videos of an annotation file")


def add_workers(parser: argparse.ArgumentParser, what: str = "processes", default: int | None = None) -> None:
    """How much is done side by side.

    Args:
        parser: gets `--workers`.
        what: what is counted, for the help.
        default: None: as many as there are cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    about = f"{what} (default: {'all cores' if default is None else default})"
    parser.add_argument("--workers", type=whole, default=default or cores, metavar="N", help=about)


def add_encoding(parser: argparse.ArgumentParser, usual: Encoding) -> None:
    """What new videos are like. `usual`: the defaults; None in it means that of the video."""
    add, of_video = parser.add_argument, "that of the video"
    add("--fps", type=positive, default=usual.fps, help=f"frames per second (default: {usual.fps or of_video})")
    about = f"of a picture, in pixels (default: {usual.short_side or of_video})"
    add("--short-side", type=whole, default=usual.short_side, help=about)
    add("--crf", type=quality, default=usual.crf, help="quality of H.264, 0 (no loss) to 51 (default: %(default)s)")


def encoding_of(args: argparse.Namespace) -> Encoding:
    """What `add_encoding` has read."""
    return Encoding(args.fps, args.short_side, args.crf)


def add_running(parser: argparse.ArgumentParser) -> None:
    """How videos are written."""
    parser.add_argument(
        "--with",
        dest="writer",
        choices=("auto", "ffmpeg", "pyav"),
        default="auto",
        help="what writes: ffmpeg, if it is on PATH and the video leaves no doubts; else PyAV (default: auto)",
    )
    add_workers(parser)
    parser.add_argument(
        "--timeout", type=positive, default=3600.0, help="seconds that one video may take (default: 3600)"
    )


def running_of(args: argparse.Namespace) -> Running:
    """What `add_running` has read."""
    return Running(args.writer, args.workers, args.timeout)


def a_path(text: str) -> Path:
    """A path as an object."""
    return Path(path(text))


def whole(text: str) -> int:
    """A whole number of 1 or more."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def quality(text: str) -> int:
    """H.264's constant rate factor."""
    if not (text.isdecimal() and int(text) <= 51):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 51")
    return int(text)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
