"""ViTT: `{"id": "FmTp", "annotations": [{"timestamp": milliseconds, "tag"}]}`, as JSON lines or a list.

Only starts are annotated. The id is YouTube-8M's, four characters: `--ids` names a file that tells YouTube's. A video
may be there several times, by several annotators.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timechat.data.reading import Found, an_object, json_rows, list_of, number_of, parse, text_of
from timechat.data.records import Event, Events
from timechat.data.sources.contract import Asked, Source

MS = 1000.0


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each set of annotations."""
    return parse(json_rows(path), _chapters)


def _chapters(where: str, part: Any) -> Events:
    row = an_object(part)
    tags = [an_object(tag) for tag in list_of(row, "annotations")]
    events = tuple(Event(number_of(tag.get("timestamp"), "timestamp") / MS, None, text_of(tag, "tag")) for tag in tags)
    return Events(where, text_of(row, "id"), events)


SOURCE = Source("vitt", "its annotations, JSON lines or a list", read, {"chapters": "vitt/raw_videos/{id}.mp4"})
