"""The times that an answer states, compared with its video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from timechat.data.audit.faults import BEYOND_END, START_NOT_BEFORE_END
from timechat.errors import ParseFailure
from timechat.evaluation.parsing import parse_highlights
from timechat.evaluation.times import blank_others, clean, counts_things, find_marks, find_times

# What an answer is, where its source does not say.
DENSE, GROUNDING, HIGHLIGHTS, TEXT = "dense captions", "grounding", "highlights", "text without times"

Interval = tuple[float, float | None]  # start and end, in the order in which they are said; None for a moment

# An event as published: "90.0 - 102.0 seconds, spread margarine.  114.0 - ...", or with its start only, as in ViTT.
_NUMBER = r"[0-9]{1,7}(?:\.[0-9]{1,6})?"
_EVENT = re.compile(rf"(?:^|  |\n)({_NUMBER})(?: - ({_NUMBER}))? seconds?, ")
_SALIENCY = re.compile(r"\bsaliency scores?\b", re.IGNORECASE)
_MOMENT_LENGTH = 80  # characters: in a longer answer, a time on its own may say how long something takes


def stated_times(answer: str) -> tuple[str, list[Interval]]:
    """The kind of an answer, and the intervals and moments that it states, seconds.

    Only what places something in the video counts: "cook for 10 minutes" inside of a caption does not.
    """
    if not any(character.isdigit() for character in answer):
        return TEXT, []
    if _EVENT.match(answer):
        events = [(float(start), float(end) if end else None) for start, end in _EVENT.findall(answer)]
        return DENSE, events
    if _SALIENCY.search(answer):
        try:
            return HIGHLIGHTS, [(second, None) for second, _ in parse_highlights(answer)]
        except ParseFailure:
            return TEXT, []
    cleaned = blank_others(clean(answer))
    marks = find_marks(cleaned, find_times(cleaned), spoken=False)
    timed = [mark for mark in marks if mark.first.unit or mark.last.unit]
    ranges = [mark for mark in timed if not mark.single and not counts_things(cleaned, mark)]
    if ranges:
        return GROUNDING, [(mark.first.seconds, mark.last.seconds) for mark in ranges]
    if timed and len(cleaned) <= _MOMENT_LENGTH:
        return GROUNDING, [(mark.start_s, None) for mark in timed]
    return TEXT, []


def faults_of(intervals: Sequence[Interval], seconds: float | None, tolerance_s: float) -> Iterator[tuple[str, str]]:
    """What is wrong with the stated times, each as fault and detail; the worst of each kind.

    Args:
        intervals: as `stated_times` gives them.
        seconds: the end of the video; None if it is not known.
        tolerance_s: how far beyond the end a time may be, because annotations are rounded.
    """
    latest = max((time for interval in intervals for time in interval if time is not None), default=0.0)
    if seconds is not None and latest > seconds + tolerance_s:
        yield BEYOND_END, f"{latest:g} s, the video ends at {seconds:.1f} s"
    wrong = [(start, end) for start, end in intervals if end is not None and start >= end]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield START_NOT_BEFORE_END, f"{wrong[0][0]:g} - {wrong[0][1]:g} seconds{more}"
