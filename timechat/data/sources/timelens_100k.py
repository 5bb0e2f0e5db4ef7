"""TimeLens-100K: JSON lines `{"source", "video_path", "duration", "events": [{"query", "span": [[start, end], ..]}]}`.

A query that happens several times is one question with several moments in its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timechat.data.reading import BadPart, Found, Placed, an_object, duration_of, json_rows, list_of, parse, text_of
from timechat.data.reading import window_of as window
from timechat.data.records import Moment
from timechat.data.sources.contract import Asked, Source


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each query."""
    return parse(_queries(path), _moment)


def _queries(path: Path) -> Iterator[Placed]:
    for where, row in json_rows(path):
        events = row.get("events") if isinstance(row, dict) else None
        if not isinstance(events, list):
            yield where, row
            continue
        yield from ((f"{where}, event {number}", (row, event)) for number, event in enumerate(events))


def _moment(where: str, part: Any) -> Moment:
    if not isinstance(part, tuple):
        raise BadPart(f"expected an object with events, found {str(part)[:60]!r}")
    row, event = an_object(part[0]), an_object(part[1])
    windows = tuple(window(value, "span") for value in list_of(event, "span"))
    return Moment(where, text_of(row, "video_path"), text_of(event, "query"), windows, duration=duration_of(row))


SOURCE = Source("timelens_100k", "timelens-100k.jsonl", read, {"grounding": "{path}"})
