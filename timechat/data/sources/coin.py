"""COIN: `{"database": {id: {"duration", "recipe_type", "subset", "annotation": [{"segment": [start, end],
"label"}]}}}`; videos lie in a folder of their recipe_type, a number from 0 to 179."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.reading import BadPart, Found, an_object, duration_of, json_object, list_of
from timechat.data.sources.captioned import Captioned, event_of, read_captioned
from timechat.data.sources.contract import Asked, Source
from timechat.data.sources.databases import in_split, videos_of


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """The videos of a split, or their steps."""
    content = json_object(path, '{"database": {id: {"subset", "annotation"}}}')
    return read_captioned(videos_of(path, content), partial(_captioned, asked), asked)


def _captioned(asked: Asked, part: Any) -> Captioned:
    entry = in_split(an_object(part), asked.split)
    folder = entry.get("recipe_type")
    if not isinstance(folder, int) or isinstance(folder, bool):
        raise BadPart(f"recipe_type is {folder!r}: it must be the number of the video's folder")
    steps = [an_object(step) for step in list_of(entry, "annotation")]
    return Captioned(
        duration_of(entry),
        [partial(event_of, step.get("segment"), "segment", step, "label") for step in steps],
        {"folder": str(folder)},
    )


SOURCE = Source(
    "coin",
    "COIN.json",
    read,
    dict.fromkeys(("step_localization", "grounding"), "COIN/videos_ali/{folder}/{id}.mp4"),
    splits=("training", "testing"),
)
