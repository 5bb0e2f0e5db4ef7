"""Answers in words -> intervals, captions and highlights in seconds: one parser per task, a result or a `ParseFailure`.

`wrappings.py` takes reasoning, tags and fences off, `json_answers.py` reads JSON, `times.py` says what times look like.
An example that the answer itself calls so is left out, and so is the sentence that told the model its frames' times
(`echoes.py`; where the prompt shows an example, its echo is taken out before, by whoever knows the prompt).
The time taken is linear in the length of the answer.
"""

from __future__ import annotations

import re
from typing import Any

from timechat.errors import ParseFailure
from timechat.evaluation.echoes import without_echo
from timechat.evaluation.json_answers import json_events, json_highlights, json_intervals
from timechat.evaluation.times import (
    CONTEXT,
    Mark,
    Time,
    blank_others,
    clean,
    counts_things,
    find_marks,
    find_times,
    has_words,
    joins_rows,
    reads_as_time,
    says_nothing,
    shares_unit,
)
from timechat.evaluation.wrappings import after_final_answer, json_list, json_objects, unwrap, without_json


def parse_grounding(text: str) -> list[tuple[float, float]]:
    """Intervals of a grounding answer, in order of appearance.

    Ranges win: when the answer names any, times on their own ("the video is 60 seconds long") are left out.
    Without a range each single time is an interval of zero length, but two times with nothing else than a comma
    between them are one interval.

    Returns:
        [(start, end), ...] in seconds, start <= end (reversed ones are swapped).

    Raises:
        ParseFailure: there is no interval and no time.
    """
    said = unwrap(without_echo(text))
    told, rest = json_intervals(json_objects(said), _ranges), without_json(said)
    found = told or _ranges(after_final_answer(rest)) or _ranges(rest) or _moments(rest)
    if not found:
        raise ParseFailure(text, "no interval such as '12.5 - 19.0 seconds'")
    return found


def parse_dense_captions(text: str) -> list[dict[str, Any]]:
    """Events of a dense captioning answer such as `90.0 - 102.0 seconds, spread margarine.  114.0 - ...`.

    A time opens an event only where an event can begin: at the start of the text, a line or a sentence, after two
    spaces, a list mark, or in brackets of its own. Numbers and ranges inside captions ("cook 10 to 15 seconds")
    therefore stay there. Answers that put the times behind each caption ("pour the oil (3.0 - 5.0 seconds)") are read
    as well. An event without words, such as the last one of an answer that was cut, is left out.

    Returns:
        [{"timestamp": [start, end], "caption": str}, ...] in seconds, in order of appearance, start <= end; an
        answer that names only the start (ViTT: `2.7 seconds, Introduction.`) has start == end.

    Raises:
        ParseFailure: there is no event with times and a caption.
    """
    said = unwrap(without_echo(text))
    listed = json_list(said)
    if listed and all(isinstance(item, str) for item in listed):
        events = _told_events(clean("\n".join(listed)))
    elif listed is not None:
        events = json_events(listed, _ranges)
    else:
        events = json_events(json_objects(said), _ranges) or _told_events(clean(said))
    if not events:
        raise ParseFailure(text, "no event such as '12.5 - 19.0 seconds, caption'")
    return events


def parse_highlights(text: str) -> list[tuple[float, float]]:
    """Highlights of an answer such as `... in the 82, 84 second. Their saliency scores are 1.3, 1.7.`

    Numbers after the word "saliency" or "score" are scores until a time with a unit follows, so "at 82 seconds,
    score 1.3; at 84 seconds, score 1.7" and "82 seconds (1.3)" are read as well. A count ("2 highlight moments") is
    neither. Pairs in one form, "82 seconds: 1.3, 84 seconds: 1.7" or "(82, 1.3), (84, 1.7)", need no such word.

    Returns:
        [(second, saliency score), ...] in order of appearance.

    Raises:
        ParseFailure: no times, or another number of scores than of times.
    """
    said = unwrap(without_echo(text))
    told = json_highlights(json_objects(said))
    if told:
        return told
    cleaned = blank_others(clean(said))
    numbers = _highlight_numbers(cleaned)
    pairs = _alternating(cleaned, numbers)
    if pairs:
        return pairs
    times, scores = _times_and_scores(cleaned, numbers)
    if not times:
        raise ParseFailure(text, "no highlight times such as 'in the 82, 84 second'")
    if len(times) != len(scores):
        raise ParseFailure(text, f"{len(times)} highlight times but {len(scores)} saliency scores")
    return list(zip(times, scores, strict=True))


# Grounding ------------------------------------------------------------------------------------------------------------


def _ranges(text: str) -> list[tuple[float, float]]:
    """Every interval that a text names by two times."""
    cleaned = blank_others(joins_rows(clean(text)))
    times = find_times(cleaned)
    ranges = [mark for mark in find_marks(cleaned, times, spoken=True) if not mark.single]
    ranges = [mark for mark in ranges if not counts_things(cleaned, mark)] or ranges
    return [(mark.start_s, mark.end_s) for mark in ranges]


def _moments(text: str) -> list[tuple[float, float]]:
    """What a text without ranges names: two times with a comma are one interval, others are moments."""
    cleaned = blank_others(clean(text))
    times = find_times(cleaned)
    if has_words(cleaned):
        meant = [bool(time.unit) or reads_as_time(cleaned, time) for time in times]
        for index in reversed(range(len(times) - 1)):
            meant[index] |= meant[index + 1] and shares_unit(cleaned, times[index], times[index + 1])
        times = [time for time, is_meant in zip(times, meant, strict=True) if is_meant]
    if len(times) == 2 and says_nothing(cleaned[times[0].end : times[1].start]):
        low, high = sorted(time.seconds for time in times)
        return [(low, high)]
    return [(time.seconds, time.seconds) for time in times]


# Dense captions -------------------------------------------------------------------------------------------------------

_NUMBERED = r"(?:step|event|scene|segment|caption|clip|shot|part) [0-9]{1,3}[.:]?"
_LIST_MARK = rf"(?:(?:[0-9]{{1,3}}[.):\n]|\([0-9]{{1,3}}\)|[-*•#|]{{1,4}}|{_NUMBERED}) ?){{0,3}}"
_NTH = r"(?:first|second|third|fourth|fifth|sixth|last|final)"
_LEAD = (
    rf"(?:(?:(?:and )?(?:then|next|finally|afterwards)|{_NTH}(?:ly)?),? )?(?:the (?:{_NTH}|next) [a-z]{{3,8}} )?"
    r"(?:(?:from|between|at|during|in|timestamps?:?|time:?|(?:start|begin)(?:s|n?ing)?(?: time)?(?: is)?\*{0,2}:?)"
    r"\*{0,2} ?(?:the )?){0,2}"
)
_EVENT_BEGIN = re.compile(
    rf"(?:(?<=[.!?;:])[\"')\]]?|\n|  )(?P<prefix>\s{{0,40}}{_LIST_MARK}\*{{0,2}}{_LEAD}\*{{0,2}}[\[(<]? ?)$",
    re.IGNORECASE,
)
_LOOSE_BEGIN = re.compile(rf"(?<= ){_LIST_MARK}{_LEAD}$", re.IGNORECASE)
_DELIMITER = re.compile(r"\*{0,2}(?:[\])>]|\*\*| ?[,:;|\n]| ?-|  )")
_FOR = re.compile(r"\b(?:for|about|another|every|last) $", re.IGNORECASE)
_CONTINUES = re.compile(r" (?:later|more|long|longer|of|or|before|apart)\b", re.IGNORECASE)
_AFTER_TIME = re.compile(r"\*{0,2}[\])>]?\*{0,2} ?(?:(?:seconds?|secs?)\b)?", re.IGNORECASE)
_LIST_AT_START = re.compile(rf"[\s).\]]{{0,3}}{_LIST_MARK}", re.IGNORECASE)
_TO_TIME = r"(?:(?:start|begin)n?ing )?(?:from|between|at|during|in|timestamps?:?|time:?)"
_LEAD_AT_END = re.compile(rf"(?: ?[\[(<]+ ?(?:{_TO_TIME} ?)?|(?:^|(?<=[\s,:;*])){_TO_TIME} ?)$", re.IGNORECASE)
_LABEL = re.compile(r"(?:caption|description|event|activity|action)s?\*{0,2}:\*{0,2} ?", re.IGNORECASE)
_EDGE = " \n,:;|-*•#"
_CLOSING = (")", "]", ">")
_QUOTED = re.compile(r"[\"“]([^\"“”]+)[\"”]")

# The last event of an answer that was cut: a time, or a part of one, and no caption.
_CUT = r"[\[(<]?[0-9][0-9:.,]{0,12} ?(?:s|sec|seconds?)?"
_CUT_END = re.compile(
    rf"(?:(?<=[^0-9][.!?;])|\n|  )\s{{0,2}}{_LIST_MARK}{_LEAD}"
    rf"(?:{_CUT} ?(?:-|to|and|until) ?(?:{_CUT})?[\])>]?|(?<=  ){_CUT}"
    r"|(?<=\n)[0-9]+\.[0-9]{0,2} ?(?:s|sec|seconds?)?)"
    r"[ ,:]*$",
    re.IGNORECASE,
)
_CUT_LENGTH = 60


def _told_events(text: str) -> list[dict[str, Any]]:
    """Events of an answer in words, `text` cleaned."""
    cleaned = joins_rows(text)
    bare = blank_others(cleaned)
    marks = find_marks(bare, find_times(bare), spoken=False)
    begins = {mark: _event_begin(bare, mark) for mark in marks}
    openers = [(mark, begin) for mark, begin in begins.items() if begin is not None]
    said = [mark for mark in marks if mark.first.unit or mark.last.unit or _bracket_of(cleaned, mark)]
    loose = [mark for mark in said if not mark.single] or said
    if _times_follow_captions(cleaned, loose):
        return _captions_before(cleaned, loose)
    bracket = _bracket_of(cleaned, openers[0][0]) if openers else ""
    if bracket:
        alike = [mark for mark in marks if _bracket_of(cleaned, mark) == bracket]
        openers = [(mark, mark.start - 1 if (begin := begins[mark]) is None else begin) for mark in alike]
    return _captions_after(cleaned, openers or [(mark, mark.start) for mark in loose])


def _bracket_of(cleaned: str, mark: Mark) -> str:
    """The bracket in which a mark of two times stands alone, else nothing."""
    opened, closed = cleaned[max(0, mark.start - 1) : mark.start], cleaned[mark.end : mark.end + 1]
    return opened if not mark.single and opened + closed in ("()", "[]", "<>") else ""


def _event_begin(cleaned: str, mark: Mark) -> int | None:
    """Where the event that `mark` opens begins (list mark and "from" included), or None if it opens none."""
    after = cleaned[mark.end : mark.end + 10]
    delimited = bool(_DELIMITER.match(after))
    said_unit = bool(mark.first.unit or mark.last.unit)
    template = not mark.single and "." in mark.first.text and "." in mark.last.text
    if _CONTINUES.match(after) or (mark.single and not (said_unit and (delimited or mark.last.unit == "clock"))):
        return None
    if not (said_unit or delimited or template) or (mark.last.unit == "minutes" and not delimited):
        return None
    offset = max(0, mark.start - CONTEXT)
    before = cleaned[offset : mark.start]
    match = _EVENT_BEGIN.search(before if offset else "\n" + before)
    if match:
        return offset + match.start("prefix") - (0 if offset else 1)
    if not (template and mark.last.unit == "seconds") or (not delimited and _FOR.search(before)):
        return None
    loose = _LOOSE_BEGIN.search(before)
    return offset + (loose.start() if loose else len(before))


def _times_follow_captions(cleaned: str, marks: list[Mark]) -> bool:
    """Whether each time stands behind words of its own sentence and nothing is said after the last one."""
    if not marks or has_words(cleaned[marks[-1].end :]) or cleaned[marks[-1].end : marks[-1].end + 1] in {",", ":"}:
        return False
    if _LABEL.match(_LIST_AT_START.sub("", cleaned[: marks[0].start], count=1)):
        return True  # "Caption: he pours." on a line, its times on the next one
    previous = 0
    for mark in marks:
        said = _without_lead(cleaned[previous : mark.start])
        if cleaned[mark.end : mark.end + 1] in _CLOSING:
            said = said.rstrip(".!?; ")
        if not has_words(re.split(r"[.!?;]\s|\n|  ", said)[-1]):
            return False
        previous = mark.end
    return True


def _without_lead(text: str) -> str:
    """A caption without what leads to the times behind it: "(from", "at"."""
    return _LEAD_AT_END.sub("", text.rstrip(_EDGE)).rstrip(_EDGE)


def _captions_after(cleaned: str, openers: list[tuple[Mark, int]]) -> list[dict[str, Any]]:
    events = []
    for index, (mark, _) in enumerate(openers):
        end = openers[index + 1][1] if index + 1 < len(openers) else len(cleaned)
        rest = _AFTER_TIME.sub("", cleaned[mark.end : end], count=1)
        tail = max(0, len(rest) - _CUT_LENGTH)
        events.append(_event(mark, rest[:tail] + _CUT_END.sub("", rest[tail:])))
    return [event for event in events if event["caption"]]


def _captions_before(cleaned: str, marks: list[Mark]) -> list[dict[str, Any]]:
    events, previous = [], 0
    for mark in marks:
        caption = _LIST_AT_START.sub("", cleaned[previous : mark.start], count=1)
        events.append(_event(mark, _without_lead(caption)))
        previous = mark.end
    return [event for event in events if event["caption"]]


def _event(mark: Mark, caption: str) -> dict[str, Any]:
    said = " ".join(_LABEL.sub("", caption.strip(_EDGE).removeprefix(". "), count=1).split())
    quoted = _QUOTED.fullmatch(said)
    return {"timestamp": [mark.start_s, mark.end_s], "caption": quoted[1] if quoted else said}


# Highlights -----------------------------------------------------------------------------------------------------------

_SCORE_WORD = re.compile(r"\b(?:saliency|scores?)\b", re.IGNORECASE)
_SCORE_FOLLOWS = re.compile(r"[ :,(-]{1,3}(?:with |has )?(?:a |the |its )?(?:saliency|scores?)\b", re.IGNORECASE)
_COUNTED = re.compile(r" ?(?:[a-z]{1,20} )?(?:highlights?|moments?|clips?|timestamps?)\b", re.IGNORECASE)
_SCALE = re.compile(r"(?:/|\bout of) ?$", re.IGNORECASE)
_SCALE_LENGTH = len(" out of ")


_IN_THE = re.compile(r"\b(?:moments?|highlights?|timestamps?) (?:are |is )?(?:in|at) ?(?:the )?$", re.IGNORECASE)
_PAIRED = re.compile(r"[\"'>\])]? ?(?:[:=(|,]|: ?\(?|(?:is|score|saliency)) ?", re.IGNORECASE)
_HIGHEST_SCORE = 10.0


def _highlight_numbers(cleaned: str) -> list[Time]:
    """Times and scores, without counts of highlights and the scale that scores are on ("out of 4")."""
    return [
        number
        for number in find_times(cleaned)
        if not _SCALE.search(cleaned, max(0, number.start - _SCALE_LENGTH), number.start)
        and (number.unit or not _COUNTED.match(cleaned, number.end))
    ]


def _alternating(cleaned: str, numbers: list[Time]) -> list[tuple[float, float]]:
    """Time, score, time, score, ... where the form says so, else nothing.

    It does when every other number has a unit and the rest have none, or when two numbers always stand in the same
    bracket, entry or row.
    """
    times, scores = numbers[::2], numbers[1::2]
    if not scores or len(times) != len(scores) or any(s.unit or s.seconds > _HIGHEST_SCORE for s in scores):
        return []
    inside = {cleaned[time.end : score.start] for time, score in zip(times, scores, strict=True)}
    between = {cleaned[score.end : time.start] for score, time in zip(scores, times[1:], strict=False)}
    paired = all(_PAIRED.fullmatch(gap) for gap in inside)
    told = all(time.unit for time in times) and paired
    boxed = len(inside) == 1 and paired and len(between) == 1 and not inside & between
    if not told and not boxed:
        return []
    return [(time.seconds, score.seconds) for time, score in zip(times, scores, strict=True)]


def _times_and_scores(cleaned: str, numbers: list[Time]) -> tuple[list[float], list[float]]:
    words = [match.start() for match in _SCORE_WORD.finditer(cleaned)]
    times: list[float] = []
    scores: list[float] = []
    reading_scores, next_word = False, 0
    for number in numbers:
        while next_word < len(words) and words[next_word] < number.start:
            reading_scores, next_word = True, next_word + 1
        if reading_scores:
            reading_scores = not (
                number.unit
                or _IN_THE.search(cleaned, max(0, number.start - CONTEXT), number.start)
                or _SCORE_FOLLOWS.match(cleaned, number.end)
            )
        in_brackets = cleaned[number.start - 1 : number.start] == "(" and cleaned[number.end : number.end + 1] == ")"
        is_score = reading_scores or (not words and in_brackets)
        (scores if is_score else times).append(number.seconds)
    return times, scores
