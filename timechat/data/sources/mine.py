"""Your own videos: rows with video, start, end and sentence, as CSV (comma, semicolon or tab), JSON lines or JSON.

Times are seconds (83.5) or clocks (1:23.5, 1:02:03); between semicolons 83,5 is 83.5. Columns in addition to these are
ignored, but for `duration`, the length of the video in seconds. For dense captioning and step localization the rows of
a video make one answer, in the order of their starts; for chapters a row needs no end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from timechat.data.reading import (
    BadPart,
    Found,
    Placed,
    an_object,
    csv_rows,
    json_rows,
    parse,
    seconds_of,
    text_of,
    window_of,
)
from timechat.data.records import Bad, Event, Events, LeftOut, Moment
from timechat.data.sources.contract import Asked, Source

COLUMNS = ("video", "start", "end", "sentence")


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each row, or for each video."""
    rows, only_start = _rows(path, asked), asked.task == "chapters"
    if asked.task == "grounding":
        return parse(rows, lambda where, part: _moment(where, part, only_start))
    return _by_video(rows, only_start)


def _rows(path: Path, asked: Asked) -> Iterable[Placed]:
    if path.suffix.lower() in (".json", ".jsonl"):
        return json_rows(path)
    needed = [name for name in COLUMNS if name != "end" or asked.task != "chapters"]
    return csv_rows(path, needed, ("end", "duration"), times=("start", "end", "duration"))


def _moment(where: str, part: Any, only_start: bool) -> Moment:
    row = an_object(part)
    start = seconds_of(_given(row, "start"), "start")
    end = start if only_start else seconds_of(_given(row, "end"), "end")
    length = row.get("duration")
    duration = None if length in (None, "") else seconds_of(length, "duration")
    window = window_of((start, end), "the moment")
    if duration is not None and end > duration:
        raise BadPart(f"the moment ends at {end:g} s, after the video, which lasts {duration:g} s")
    return Moment(where, text_of(row, "video"), text_of(row, "sentence"), (window,), duration=duration)


def _given(row: Any, key: str) -> Any:
    value = row.get(key)
    if value is None or value == "":
        raise BadPart(f"{key} is missing: write seconds (83.5) or a clock (1:23.5)")
    return value


def _by_video(rows: Iterable[Placed], only_start: bool) -> Iterator[Found]:
    """The rows of each video as one record, at the place of its first one.

    A video with a broken row is left out: its answer would lack an event.
    """
    videos: dict[str, list[Moment]] = {}
    broken: set[str] = set()
    for where, part in rows:
        try:
            moment = _moment(where, part, only_start)
            videos.setdefault(moment.video, []).append(moment)
        except BadPart as bad:
            yield Bad(where, str(bad))
            broken.add(str(part.get("video")).strip() if isinstance(part, dict) else "")
    for video, moments in videos.items():
        if video in broken:
            yield LeftOut(moments[0].where, "another row of the video is broken")
        else:
            yield _events(video, moments, only_start)


def _events(video: str, moments: Sequence[Moment], only_start: bool) -> Events:
    ordered = sorted((*moment.windows[0], moment.query) for moment in moments)
    events = tuple(Event(start, None if only_start else end, text) for start, end, text in ordered)
    known = next((moment.duration for moment in moments if moment.duration is not None), None)
    return Events(moments[0].where, video, events, duration=known)


SOURCE = Source(
    "mine",
    "your own rows with video, start, end, sentence: .csv, .tsv, .jsonl or .json",
    read,
    dict.fromkeys(("grounding", "dense_captioning", "step_localization", "chapters"), "{path}"),
)
