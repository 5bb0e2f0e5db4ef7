"""Arguments that the verbs share which write videos."""

from __future__ import annotations

import argparse
import os

from timechat.data.video_jobs import Running


def add_running(parser: argparse.ArgumentParser) -> None:
    """How videos are written."""
    parser.add_argument(
        "--with",
        dest="writer",
        choices=("auto", "ffmpeg", "pyav"),
        default="auto",
        help="what writes: ffmpeg, if it is on PATH and the video leaves no doubts; else PyAV (default: auto)",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--workers", type=whole, default=cores, help="processes (default: all cores)")
    parser.add_argument(
        "--timeout", type=positive, default=3600.0, help="seconds that one video may take (default: 3600)"
    )


def running_of(args: argparse.Namespace) -> Running:
    """What `add_running` has read."""
    return Running(args.writer, args.workers, args.timeout)


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
