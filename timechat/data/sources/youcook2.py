"""YouCook2: `{"database": {id: {"duration", "subset", "annotations": [{"segment": [start, end], "sentence"}]}}}`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.reading import Found, an_object, duration_of, json_object, list_of
from timechat.data.sources.captioned import Captioned, event_of, read_captioned
from timechat.data.sources.contract import Asked, Source
from timechat.data.sources.databases import in_split, videos_of


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """The videos of a split, or their sentences."""
    content = json_object(path, '{"database": {id: {"subset", "annotations"}}}')
    return read_captioned(videos_of(path, content), partial(_captioned, asked), asked)


def _captioned(asked: Asked, part: Any) -> Captioned:
    entry = in_split(an_object(part), asked.split)
    events = [an_object(event) for event in list_of(entry, "annotations")]
    return Captioned(
        duration_of(entry),
        [partial(event_of, event.get("segment"), "segment", event, "sentence") for event in events],
    )


SOURCE = Source(
    "youcook2",
    "youcookii_annotations_trainval.json",
    read,
    dict.fromkeys(("dense_captioning", "grounding"), "YouCook2_asr_denseCap/youcook2_6fps_224/{id}.mp4"),
    splits=("training", "validation"),
    as_it_is="youcook2",
)
