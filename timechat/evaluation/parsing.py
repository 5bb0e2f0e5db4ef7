"""Answers in words -> intervals, captions and highlights in seconds. One parser a task; a `ParseFailure` or a result.

All three parsers read times in one way (`_find_times`): `12`, `12.5`, `12s`, `12.5 seconds`, `1:09`, `00:00:18`,
`2 minutes`, `1 min 20 s`. Ordinals ("the 2nd step"), percentages and numbers inside words are no times. Every pattern
is bounded in length, so the time taken is linear in the length of the answer.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from timechat.errors import ParseFailure

_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))

_NUMBER = r"[0-9]{1,7}(?:\.[0-9]{1,20})?"
_SECONDS_UNIT = r"(?:seconds?|secs?|s)"
_MINUTES_UNIT = r"(?:minutes?|mins?|m)"
_TIME = re.compile(
    r"(?<![\w.])(?<![0-9]:)"
    r"(?:(?:(?P<hours>[0-9]{1,2}):)?(?P<minutes>[0-9]{1,3}):(?P<rest>[0-9]{2}(?:\.[0-9]{1,20})?)"
    rf"|(?P<min>{_NUMBER}) ?-?{_MINUTES_UNIT}(?:,? (?:and )?|)(?P<sec>{_NUMBER}) ?{_SECONDS_UNIT}"
    rf"|(?P<onlymin>{_NUMBER}) ?(?:minutes?|mins?)"
    rf"|(?P<number>{_NUMBER})(?P<unit>[ -]?{_SECONDS_UNIT}(?!\w))?)"
    r"(?![\w%]| %|\.[0-9]|:[0-9])",
    re.IGNORECASE,
)

_LIST_NUMBER = re.compile(r"(?:^|\n)[0-9]{1,3}[.)] ")
_FILLER = r"(?:(?:the|about|around|approximately|roughly|at|second|seconds|timestamp|time|t ?=|=) ?){0,4}"
_RANGE_GAP = re.compile(
    rf"[>\])*]{{0,2}} ?(?:-{{1,2}}>?|[~→…]|\.{{2,3}}|to|until|till|through|up to|and until) ?{_FILLER}[<\[(*]{{0,2}}",
    re.IGNORECASE,
)
_AND_GAP = re.compile(rf" ?,? ?and {_FILLER}", re.IGNORECASE)
_COMMA_GAP = re.compile(r" ?[,;] ?")
_BETWEEN = re.compile(rf"\b(?:between|from) {_FILLER}$", re.IGNORECASE)
_OPEN_BRACKET = re.compile(r"[\[(<] ?$")
_START_WORD = re.compile(r"\b(?:start(?:s|ed|ing)?|begin(?:s|ning)?|began|onset|from)\b", re.IGNORECASE)
_END_WORD = re.compile(r"\b(?:end(?:s|ed|ing)?|finish(?:es|ed|ing)?|stop(?:s|ped|ping)?|until|to)\b", re.IGNORECASE)
_BEGINS = re.compile(r"\b(?:start|begin)", re.IGNORECASE)  # for "ends at 10 s and begins at 4 s"
_ENDS = re.compile(r"\b(?:end|finish|stop)", re.IGNORECASE)
_SINGLE_LEAD = re.compile(
    r"(?:^|\b(?:at|in|on|around|about|near|is|second|seconds|timestamp|time|after|from)[: ]) ?$", re.IGNORECASE
)
_THINGS = re.compile(r" (?!(?:and|as|during|for|in|is|of|on|or|then|when|where|while|with)\b)[a-z]{2}", re.IGNORECASE)
_MAX_GAP = 60
_CONTEXT = 40


class _Time(NamedTuple):
    seconds: float
    start: int  # span in the cleaned text
    end: int
    unit: str  # "clock", "minutes", "seconds" or "" for a bare number
    text: str


class _Mark(NamedTuple):
    """One interval in the text; `single` when only one time was said."""

    start_s: float
    end_s: float
    start: int
    end: int
    first: _Time
    last: _Time
    single: bool


def parse_grounding(text: str) -> list[tuple[float, float]]:
    """Intervals of a grounding answer, in order of appearance.

    Ranges win: when the answer names any, times on their own ("the video is 60 seconds long") are left out.
    Without a range each single time is an interval of zero length.

    Returns:
        [(start, end), ...] in seconds, start <= end (reversed ones are swapped).

    Raises:
        ParseFailure: there is no interval and no time.
    """
    cleaned = _clean(text)
    times = _find_times(cleaned)
    ranges = [mark for mark in _find_marks(cleaned, times, spoken=True) if not mark.single]
    ranges = [mark for mark in ranges if not _counts_things(cleaned, mark)] or ranges
    if ranges:
        return [(mark.start_s, mark.end_s) for mark in ranges]
    wordless = not _words(cleaned)
    moments = [time.seconds for time in times if time.unit or wordless or _reads_as_time(cleaned, time)]
    if not moments:
        raise ParseFailure(text, "no interval such as '12.5 - 19.0 seconds'")
    return [(moment, moment) for moment in moments]


def parse_dense_captions(text: str) -> list[dict[str, Any]]:
    """Events of a dense captioning answer such as `90.0 - 102.0 seconds, spread margarine.  114.0 - ...`.

    A time opens an event only where an event can begin: at the start of the text, a line or a sentence, after two
    spaces or a list mark. Numbers and ranges inside captions ("cook 10 to 15 seconds") therefore stay there. Answers
    that put the times behind each caption ("pour the oil (3.0 - 5.0 seconds)") are read as well. An event without
    words, such as the last one of an answer that was cut, is left out.

    Returns:
        [{"timestamp": [start, end], "caption": str}, ...] in seconds, in order of appearance, start <= end; an
        answer that names only the start (ViTT: `2.7 seconds, Introduction.`) has start == end.

    Raises:
        ParseFailure: there is no event with times and a caption.
    """
    cleaned = _clean(text)
    marks = _find_marks(cleaned, _find_times(cleaned), spoken=False)
    openers = [(mark, begin) for mark in marks if (begin := _event_begin(cleaned, mark)) is not None]
    said = [mark for mark in marks if mark.first.unit or mark.last.unit]
    loose = [mark for mark in said if not mark.single] or said
    if _times_follow_captions(cleaned, loose):
        events = _captions_before(cleaned, loose)
    else:
        events = _captions_after(cleaned, openers or [(mark, mark.start) for mark in loose])
    if not events:
        raise ParseFailure(text, "no event such as '12.5 - 19.0 seconds, caption'")
    return events


def parse_highlights(text: str) -> list[tuple[float, float]]:
    """Highlights of an answer such as `... in the 82, 84 second. Their saliency scores are 1.3, 1.7.`

    Numbers after the word "saliency" or "score" are scores until a time with a unit follows, so "at 82 seconds,
    score 1.3; at 84 seconds, score 1.7" and "82 seconds (1.3)" are read as well. A count ("2 highlight moments") is
    neither.

    Returns:
        [(second, saliency score), ...] in order of appearance.

    Raises:
        ParseFailure: no times, or another number of scores than of times.
    """
    times, scores = _times_and_scores(_clean(text))
    if not times:
        raise ParseFailure(text, "no highlight times such as 'in the 82, 84 second'")
    if len(times) != len(scores):
        raise ParseFailure(text, f"{len(times)} highlight times but {len(scores)} saliency scores")
    return list(zip(times, scores, strict=True))


def _clean(text: str) -> str:
    """Runs of white space become one newline, two spaces or one space; dashes of all kinds become '-'."""
    shorter = re.sub(r"\s+", lambda m: "\n" if "\n" in m[0] or "\r" in m[0] else " " * min(len(m[0]), 2), text)
    return shorter.strip().translate(_DASHES)


def _find_times(cleaned: str) -> list[_Time]:
    """Every number that can be a time, in order; "1-2 minutes" gives both numbers in minutes."""
    times: list[_Time] = []
    for match in _TIME.finditer(cleaned):
        seconds, unit = _seconds_of(match)
        if not unit and _LIST_NUMBER.match(cleaned, max(0, match.start() - 1)):
            continue
        if unit == "minutes" and times and not times[-1].unit:
            gap = cleaned[times[-1].end : match.start()]
            if len(gap) <= _MAX_GAP and _RANGE_GAP.fullmatch(gap):
                times[-1] = times[-1]._replace(seconds=times[-1].seconds * 60, unit="minutes")
        times.append(_Time(seconds, match.start(), match.end(), unit, match[0]))
    return times


def _seconds_of(match: re.Match[str]) -> tuple[float, str]:
    if match.lastgroup == "number":
        return float(match[0]), ""
    if match["rest"]:
        return 3600 * int(match["hours"] or 0) + 60 * int(match["minutes"]) + float(match["rest"]), "clock"
    if match["min"]:
        return 60 * float(match["min"]) + float(match["sec"]), "clock"
    if match["onlymin"]:
        return 60 * float(match["onlymin"]), "minutes"
    return float(match["number"]), "seconds"


def _find_marks(cleaned: str, times: list[_Time], spoken: bool) -> list[_Mark]:
    """Join neighbouring times that the words between them make a range, from left to right; the rest stay single.

    `spoken` allows ranges told in a sentence ("starts at 5 s and ends at 9 s"); captions are full of such words.
    """
    marks: list[_Mark] = []
    index = 0
    while index < len(times):
        left = times[index]
        right = times[index + 1] if index + 1 < len(times) else None
        joined = right is not None and _is_range(cleaned, left, right, times[index - 1].end if index else 0, spoken)
        last = right if right is not None and joined else left
        low, high = min(left.seconds, last.seconds), max(left.seconds, last.seconds)
        marks.append(_Mark(low, high, left.start, last.end, left, last, not joined))
        index += 2 if joined else 1
    return marks


def _is_range(cleaned: str, left: _Time, right: _Time, previous_end: int, spoken: bool) -> bool:
    gap = cleaned[left.end : right.start]
    if len(gap) > _MAX_GAP or not gap.strip():
        return False
    before = cleaned[max(previous_end, left.start - _MAX_GAP) : left.start]
    if _RANGE_GAP.fullmatch(gap):
        return True
    if _AND_GAP.fullmatch(gap):
        return bool(_BETWEEN.search(before))
    if _COMMA_GAP.fullmatch(gap):
        return bool(_OPEN_BRACKET.search(before)) and cleaned[right.end : right.end + 2].lstrip()[:1] in {"]", ")", ">"}
    if not spoken:
        return False
    starts, ends = _START_WORD.search(gap), _END_WORD.search(gap)
    if ends and not starts:
        return bool(_START_WORD.search(before))
    return bool(_BEGINS.search(gap) and not ends and _ENDS.search(before) and not _START_WORD.search(before))


def _reads_as_time(cleaned: str, time: _Time) -> bool:
    """Whether a bare number among words is meant as a time: a decimal, or behind "at", "in", ..."""
    before = cleaned[max(0, time.start - _CONTEXT) : time.start]
    after = cleaned[time.end : time.end + 2].lstrip(" ")
    closed = after[:1] in {"", ".", ",", ";", ")", "]", "\n"}
    return closed and ("." in time.text or bool(_SINGLE_LEAD.search(before)))


def _counts_things(cleaned: str, mark: _Mark) -> bool:
    """Whether a range without unit counts something else than seconds ("2 to 3 people")."""
    bare = not (mark.first.unit or mark.last.unit) and "." not in mark.first.text + mark.last.text
    return bare and bool(_THINGS.match(cleaned[mark.end : mark.end + _CONTEXT]))


_LIST_MARK = r"(?:(?:[0-9]{1,3}[.):]|\([0-9]{1,3}\)|[-*•#]{1,4}|(?:step|event|scene) [0-9]{1,3}[.:]?) ?){0,3}"
_LEAD = (
    r"(?:(?:and )?(?:then|next|finally|afterwards),? )?(?:(?:from|between|at|during|in|timestamps?:?|time:?) ?){0,2}"
)
_EVENT_BEGIN = re.compile(
    rf"(?:(?<=[.!?;:])[\"')\]]?|\n|  )(?P<prefix>\s{{0,2}}{_LIST_MARK}\*{{0,2}}{_LEAD}\*{{0,2}}[\[(<]? ?)$",
    re.IGNORECASE,
)
_LOOSE_BEGIN = re.compile(rf"(?<= ){_LIST_MARK}{_LEAD}$", re.IGNORECASE)
_DELIMITER = re.compile(r"\*{0,2}(?:[\])>]|\*\*| ?[,:;|\n]| ?-|  )")
_CONTINUES = re.compile(r" (?:later|more|long|longer|of|or|before|apart)\b", re.IGNORECASE)
_AFTER_TIME = re.compile(r"\*{0,2}[\])>]?\*{0,2} ?(?:(?:seconds?|secs?)\b)?", re.IGNORECASE)
_LIST_AT_START = re.compile(rf"[\s).\]]{{0,3}}{_LIST_MARK}", re.IGNORECASE)
_LEAD_AT_END = re.compile(r"(?:^|(?<=[\s,:;]))(?:from|between|at|during|in)$", re.IGNORECASE)
_EDGE = " \n,:;|-*•#"


def _event_begin(cleaned: str, mark: _Mark) -> int | None:
    """Where the event that `mark` opens begins (list mark and "from" included), or None if it opens none."""
    after = cleaned[mark.end : mark.end + 10]
    delimited = bool(_DELIMITER.match(after))
    said_unit = bool(mark.first.unit or mark.last.unit)
    template = not mark.single and "." in mark.first.text and "." in mark.last.text
    if _CONTINUES.match(after) or (mark.single and not (said_unit and (delimited or mark.last.unit == "clock"))):
        return None
    if not (said_unit or delimited or template) or (mark.last.unit == "minutes" and not delimited):
        return None
    offset = max(0, mark.start - _CONTEXT)
    before = cleaned[offset : mark.start]
    match = _EVENT_BEGIN.search(before if offset else "\n" + before)
    if match:
        return offset + match.start("prefix") - (0 if offset else 1)
    if not (template and mark.last.unit == "seconds" and delimited):
        return None
    loose = _LOOSE_BEGIN.search(before)
    return offset + (loose.start() if loose else len(before))


def _times_follow_captions(cleaned: str, marks: list[_Mark]) -> bool:
    """Whether each time stands behind words of its own sentence and nothing is said after the last one."""
    if not marks or _words(cleaned[marks[-1].end :]) or cleaned[marks[-1].end : marks[-1].end + 1] in {",", ":"}:
        return False
    previous = 0
    for mark in marks:
        sentence = re.split(r"[.!?;]\s|\n|  ", cleaned[previous : mark.start])[-1]
        if not _words(_LEAD_AT_END.sub("", sentence.rstrip(_EDGE + "([<"))):
            return False
        previous = mark.end
    return True


def _captions_after(cleaned: str, openers: list[tuple[_Mark, int]]) -> list[dict[str, Any]]:
    events = []
    for index, (mark, _) in enumerate(openers):
        end = openers[index + 1][1] if index + 1 < len(openers) else len(cleaned)
        rest = cleaned[mark.end : end]
        events.append(_event(mark, _AFTER_TIME.sub("", rest, count=1)))
    return [event for event in events if event["caption"]]


def _captions_before(cleaned: str, marks: list[_Mark]) -> list[dict[str, Any]]:
    events, previous = [], 0
    for mark in marks:
        caption = _LIST_AT_START.sub("", cleaned[previous : mark.start], count=1).rstrip(_EDGE + "([<")
        bracketed = cleaned[mark.start - 1 : mark.start] in {"(", "[", "<"}
        events.append(_event(mark, caption if bracketed else _LEAD_AT_END.sub("", caption)))
        previous = mark.end
    return [event for event in events if event["caption"]]


def _event(mark: _Mark, caption: str) -> dict[str, Any]:
    return {"timestamp": [mark.start_s, mark.end_s], "caption": " ".join(caption.strip(_EDGE).split())}


def _words(text: str) -> bool:
    return re.search(r"[^\W\d_]{2}", text) is not None


_SCORE_WORD = re.compile(r"\b(?:saliency|scores?)\b", re.IGNORECASE)
_SCORE_FOLLOWS = re.compile(r"[ :,(-]{1,3}(?:with |has )?(?:a |the |its )?(?:saliency|scores?)\b", re.IGNORECASE)
_COUNTED = re.compile(r" ?(?:[a-z]+ )?(?:highlights?|moments?|clips?|timestamps?)\b", re.IGNORECASE)
_SCALE = re.compile(r"(?:/|\bout of) ?$", re.IGNORECASE)


def _times_and_scores(cleaned: str) -> tuple[list[float], list[float]]:
    words = [match.start() for match in _SCORE_WORD.finditer(cleaned)]
    times: list[float] = []
    scores: list[float] = []
    reading_scores, next_word = False, 0
    for number in _find_times(cleaned):
        while next_word < len(words) and words[next_word] < number.start:
            reading_scores, next_word = True, next_word + 1
        if _SCALE.search(cleaned[max(0, number.start - _CONTEXT) : number.start]):
            continue
        if not number.unit and _COUNTED.match(cleaned[number.end : number.end + _CONTEXT]):
            continue
        if _SCORE_FOLLOWS.match(cleaned[number.end : number.end + _CONTEXT]):
            reading_scores = False
        in_brackets = cleaned[number.start - 1 : number.start] == "(" and cleaned[number.end : number.end + 1] == ")"
        if number.unit:
            reading_scores = False
        is_score = reading_scores or (not words and in_brackets)
        (scores if is_score else times).append(number.seconds)
    return times, scores
