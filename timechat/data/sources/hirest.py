"""HiREST: `{query: {"ID.mp4": {"relevant", "clip", "v_duration", "bounds": [start, end], "steps": [{"heading",
"absolute_bounds": [start, end]}]}}}`.

For grounding a query is looked for in its whole video. For step localization the video is the clip ID_START_END.mp4,
cut at the bounds (`timechat data clip`), and times count from where it starts. Only videos that are relevant, bounded
and have steps count, as in TimeIT.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.reading import (
    BadPart,
    Found,
    OutByRule,
    Placed,
    an_object,
    json_object,
    list_of,
    number_of,
    parse,
    stem_of,
    text_of,
    window_of,
)
from timechat.data.records import Event, Events, Moment, Record
from timechat.data.sources.contract import Asked, Source


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each query and video."""
    content = json_object(path, '{query: {"ID.mp4": {"relevant", "clip", "bounds", "steps"}}}')
    return parse(_pairs(content), partial(_record, asked))


def _pairs(content: dict[str, Any]) -> Iterator[Placed]:
    for query, videos in content.items():
        if not isinstance(videos, dict):
            yield f"query {query!r}", videos
            continue
        yield from ((f"query {query!r}, {name}", (query, name, entry)) for name, entry in videos.items())


def _record(asked: Asked, where: str, part: Any) -> Record:
    if not isinstance(part, tuple):
        raise BadPart(f"expected videos by name, found {str(part)[:60]!r}")
    query, name, entry = part[0], stem_of(part[1]), an_object(part[2])
    if not (entry.get("relevant") and entry.get("clip") and entry.get("steps")):
        raise OutByRule("not relevant, without bounds, or without steps")
    bounds: Any = entry.get("bounds")
    start, end = window_of(bounds, "bounds")
    length = number_of(entry.get("v_duration"), "v_duration")
    if asked.task == "grounding":
        return Moment(where, name, text_of({"query": query}, "query"), ((start, end),), duration=length)
    steps = [an_object(step) for step in list_of(entry, "steps")]
    events = tuple(_step(number, step, start, end) for number, step in enumerate(steps))
    parts = {"start": str(bounds[0]), "end": str(bounds[1])}
    return Events(where, name, events, parts=parts, duration=end - start)


def _step(number: int, step: Any, start: float, end: float) -> Event:
    first, last = window_of(step.get("absolute_bounds"), f"absolute_bounds of step {number}")
    if first < start or last > end:
        raise BadPart(f"step {number} is at [{first:g}, {last:g}], outside of the bounds [{start:g}, {end:g}]")
    return Event(first - start, last - start, text_of(step, "heading"))


SOURCE = Source(
    "hirest",
    "all_data_train.json or all_data_val.json",
    read,
    {"grounding": "HiREST/videos/{id}.mp4", "step_localization": "HiREST/clips/{id}_{start}_{end}.mp4"},
)
