"""Answers in JSON -> intervals, events and highlights: which key means what, whoever's model chose its name.

Keys that count something else than seconds (`start_frame`, `percent`, `duration`, ...) are passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from timechat.evaluation.times import clean, find_times

Interval = tuple[float, float]
ReadText = Callable[[str], list[Interval]]

# What a key means; of these the first that fits. Keys are compared in lower case and without `_`, `-` and blanks.
_KEYS = {
    "other": r"frame|percent|ratio|index|idx|fps|duration|length|count|num|^id$|qid|vid",
    "score": r"score|salien|confidence|rating",
    "start": r"^(?:time|event|clip|segment|t)?(?:start|begin|from$|onset)",
    "end": r"^(?:time|event|clip|segment|t)?(?:end|stop|to$|until|finish|offset)",
    "caption": r"caption|sentence|event|descri|text|label|activity|action|step|content|title",
    "time": r"time|interval|segment|window|span|moment|range|second|highlight|ground|answer|output|result|predict",
}


def json_intervals(value: Any, read_text: ReadText) -> list[Interval]:
    """All intervals of an object, in its order.

    Args:
        value: what JSON holds.
        read_text: finds intervals in a text that a key of time holds ("from 00 to 29").
    """
    pair = _interval(value)
    if pair:
        return [pair]
    if isinstance(value, list | tuple):
        return [found for item in value for found in json_intervals(item, read_text)]
    if isinstance(value, str):
        return read_text(value)
    if not isinstance(value, dict):
        return []
    timed = {key: item for key, item in value.items() if _means(key) == "time" or isinstance(item, dict | list)}
    found = [
        interval
        for key, item in timed.items()
        if _means(key) not in ("other", "score", "start", "end")
        for interval in json_intervals(item, read_text)
    ]
    moments = [_seconds(item) for item in _all(value, "time")]
    return found or [(moment, moment) for moment in moments if moment is not None]


def json_events(value: Any, read_text: ReadText) -> list[dict[str, Any]]:
    """Every event of an object: an interval and a caption beside it, or lists of both (`timestamps`, `sentences`).

    In a list, `[start, end, "caption"]` and `[[start, end], "caption"]` are events as well.
    """
    if isinstance(value, list | tuple):
        *times, last = value or [None]
        interval = _interval(times[0] if len(times) == 1 else times)
        if interval and isinstance(last, str) and _seconds(last) is None:
            return [_event(interval, last)] if last.strip() else []
        return [event for item in value for event in json_events(item, read_text)]
    if not isinstance(value, dict):
        return []
    captions = next((item for item in _all(value, "caption") if isinstance(item, str | list)), None)
    if isinstance(captions, str):
        intervals = [_interval(value)] if _interval(value) else json_intervals(value, read_text)
        return [_event(interval, captions) for interval in intervals[:1] if interval and captions.strip()]
    if isinstance(captions, list) and captions and all(isinstance(item, str) for item in captions):
        times = [interval for item in _all(value, "time") for interval in json_intervals(item, read_text)]
        pairs = zip(times, captions, strict=True) if len(times) == len(captions) else ()
        return [_event(interval, caption) for interval, caption in pairs]
    keyed = [(read_text(key), item) for key, item in value.items() if isinstance(item, str)]
    events = [_event(intervals[0], caption) for intervals, caption in keyed if intervals and caption.strip()]
    return events or [event for item in value.values() for event in json_events(item, read_text)]


def json_highlights(value: Any) -> list[tuple[float, float]]:
    """(second, score) pairs: lists of both, a time beside its score, or times as keys."""
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in json_highlights(item)]
    if not isinstance(value, dict):
        return []
    times = _numbers([*_all(value, "time"), *_all(value, "start")][:1])
    scores = _numbers(_all(value, "score")[:1])
    if times and len(times) == len(scores):
        return list(zip(times, scores, strict=True))
    keyed = [(_seconds(key), _seconds(item)) for key, item in value.items()]
    pairs = [(time, score) for time, score in keyed if time is not None and score is not None]
    if pairs and len(pairs) == len(keyed):
        return pairs
    return [pair for item in value.values() for pair in json_highlights(item)]


def _means(key: Any) -> str:
    plain = re.sub(r"[\W_]", "", str(key).lower())
    return next((meaning for meaning, pattern in _KEYS.items() if re.search(pattern, plain)), "")


def _all(value: dict[str, Any], meaning: str) -> list[Any]:
    return [item for key, item in value.items() if _means(key) == meaning]


def _interval(value: Any) -> Interval | None:
    """[start, end], [start, end, score], or an object with both."""
    if isinstance(value, dict):
        ends = [next(iter(_all(value, meaning)), None) for meaning in ("start", "end")]
    elif isinstance(value, list | tuple) and (len(value) == 2 or (len(value) == 3 and _is_share(value[2]))):
        ends = list(value[:2])
    else:
        return None
    start, end = map(_seconds, ends)
    return None if start is None or end is None else (min(start, end), max(start, end))


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _seconds(value: Any) -> float | None:
    """A number, or a text that is a time and nothing else."""
    if isinstance(value, str):
        cleaned = re.sub(r"^([0-9]+),([0-9]+)$", r"\1.\2", clean(value))
        times = find_times(cleaned)
        return times[0].seconds if len(times) == 1 and times[0].text == cleaned else None
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if known else None


def _numbers(values: Sequence[Any]) -> list[float]:
    """The numbers of a value or a list of values; nothing if one of them is none."""
    found = [_seconds(item) for item in _flat(values)]
    return [] if None in found else [number for number in found if number is not None]


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _event(interval: Interval, caption: str) -> dict[str, Any]:
    return {"timestamp": list(interval), "caption": " ".join(caption.split())}
