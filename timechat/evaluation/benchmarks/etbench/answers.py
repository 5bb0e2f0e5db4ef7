"""What answers to E.T. Bench's tasks say: an option, a moment, intervals, or events with captions.

Times and events are read by this project's parsers (`parsing.py`), options by E.T. Bench's own rule: a letter in
brackets or at the beginning. Where there is none, the option whose text is said word for word, and at last the one
that is most like the answer, which takes an encoder of sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from timechat.errors import ParseFailure
from timechat.evaluation.metrics.multiple_choice import LETTERS, parse_choice
from timechat.evaluation.metrics.similarity import INSTALL, SentenceSimilarity
from timechat.evaluation.parsing import parse_grounding
from timechat.evaluation.times import clean, find_times

Interval = tuple[float, float]

_IN_BRACKETS = re.compile(r"\(([A-Za-z])\)")
_LEAD = "best option:"
_BEHIND_LETTER = (".", ",", " ", ")")
_COUNTED = re.compile(r" ?(?:[a-z]{1,20} )?(?:highlights?|moments?|clips?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Option:
    """An option that an answer names.

    Attributes:
        index: from 0.
        nearest: whether it is only the one that is most like the answer.
    """

    index: int
    nearest: bool = False


@dataclass(frozen=True)
class GroundedOption:
    """An option, and when the video shows why; either may be missing, not both."""

    option: Option | None
    intervals: tuple[Interval, ...] = ()


def parse_option(
    answer: str, options: Sequence[str], similarity: SentenceSimilarity, in_brackets: bool = True
) -> Option:
    """The option that an answer names.

    Args:
        answer: what the model wrote.
        options: their texts, without letters.
        similarity: finds the nearest option, where no letter and no text names one.
        in_brackets: whether a letter in brackets counts wherever it stands; GVQ's rule looks at the beginning only.

    Raises:
        ParseFailure: the answer is empty, or names no option and there is no encoder.
    """
    letters = LETTERS[: len(options)].lower()
    match = _IN_BRACKETS.search(answer) if in_brackets else None
    if match and match[1].lower() in letters:
        return Option(letters.index(match[1].lower()))
    said = answer.lower().removeprefix(_LEAD).lstrip().lstrip("(").lstrip()
    if not said:
        raise ParseFailure(answer, "the answer is empty")
    if said[0] in letters and (len(said) == 1 or said[1] in _BEHIND_LETTER):
        return Option(letters.index(said[0]))
    try:
        return Option(parse_choice(answer, options))
    except ParseFailure as failure:
        if similarity.why_missing:
            raise ParseFailure(answer, f"{failure.reason}; the nearest one takes {INSTALL}") from None
    labelled = [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return Option(similarity.nearest(said, labelled), nearest=True)


def parse_grounded_option(
    answer: str, times_of: str, options: Sequence[str], similarity: SentenceSimilarity
) -> GroundedOption:
    """Option and intervals of an answer.

    Args:
        answer: what the model wrote.
        times_of: the same without what only repeats the question.
        options, similarity: as for `parse_option`.

    Raises:
        ParseFailure: neither is there.
    """
    option: Option | None = None
    intervals: tuple[Interval, ...] = ()
    reason = ""
    try:
        option = parse_option(answer, options, similarity, in_brackets=False)
    except ParseFailure as failure:
        reason = failure.reason
    try:
        intervals = tuple(parse_grounding(times_of))
    except ParseFailure:
        if option is None:
            raise ParseFailure(answer, f"{reason}, and names no interval") from None
    return GroundedOption(option, intervals)


def parse_moment(answer: str) -> float:
    """The first time of an answer, in seconds; how many highlights there are is none.

    Raises:
        ParseFailure: there is no number.
    """
    cleaned = clean(answer)
    times = [time for time in find_times(cleaned) if time.unit or not _COUNTED.match(cleaned, time.end)]
    if not times:
        raise ParseFailure(answer, "no time such as '26.8 seconds'")
    return times[0].seconds
