"""The command `timechat data`: one module for each verb."""

from __future__ import annotations

from collections.abc import Sequence

from timechat.cli import run_verb

# Verb -> what it does; the module of that name has `main(argv) -> exit status`.
VERBS = {
    "audit": "check annotations and videos, write a manifest for training and a page about coverage",
    "locate": "find videos that lie under other names than annotations say, and link them",
    "convert": "turn annotations of other sources, or your own, into instructions",
    "merge": "several files of instructions into one, such as TimeIT-104K",
    "clip": "cut the clips that annotations name out of whole videos",
    "compress": "make smaller copies of videos: 6 frames a second, 224 pixels, no sound",
    "asr": "transcribe the speech of videos",
    "add-asr": "put what is said in the videos before the instructions",
    "pack": "write videos and annotations into tar shards (builder: shards)",
}


def main(argv: Sequence[str]) -> int:
    """Run a verb; returns the exit status."""
    return run_verb("timechat data", VERBS, __name__, argv)
