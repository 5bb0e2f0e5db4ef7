"""Seconds -> the two sentences that make TimeChat time-sensitive (paper, sections 3.1 and 3.2).

Timestamps are floats everywhere else; only here do they become text, and nothing parses them back.
"""

from __future__ import annotations

from collections.abc import Sequence


def format_seconds(seconds: float) -> str:
    """One decimal, as the published prompts print times: 2.0 -> "2.0"."""
    return str(round(float(seconds), 1))


def frame_sentence(seconds: float) -> str:
    """The sentence that the Q-Former reads together with a frame."""
    return f"This frame is sampled at {format_seconds(seconds)} second."


def video_sentence(seconds: Sequence[float]) -> str:
    """The sentence in front of the question, with the trailing space that joins it to the question."""
    times = ", ".join(format_seconds(s) for s in seconds)
    return f"The video contains {len(seconds)} frames sampled at {times} seconds. "
