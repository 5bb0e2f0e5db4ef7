"""ActivityNet Captions: `{"v_ID": {"duration", "timestamps": [[start, end], ...], "sentences": [...]}}`.

Each sentence of the list belongs to the interval at its place; none is ever split at its full stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.reading import BadPart, Found, an_object, duration_of, json_object, list_of
from timechat.data.sources.captioned import Captioned, event_of, read_captioned
from timechat.data.sources.contract import Asked, Source


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """The videos, or their sentences."""
    content = json_object(path, '{"v_ID": {"duration", "timestamps", "sentences"}}')
    return read_captioned(content.items(), _captioned, asked)


def _captioned(part: Any) -> Captioned:
    entry = an_object(part)
    times, texts = list_of(entry, "timestamps"), list_of(entry, "sentences")
    if len(times) != len(texts):
        raise BadPart(f"sentences has {len(texts)}, but timestamps {len(times)}; one is needed for each")
    return Captioned(
        duration_of(entry),
        [
            partial(event_of, time, "timestamps", {"sentences": text}, "sentences")
            for time, text in zip(times, texts, strict=True)
        ],
    )


SOURCE = Source(
    "activitynet_captions",
    "train.json, val_1.json or val_2.json",
    read,
    dict.fromkeys(("dense_captioning", "grounding"), "ActivityNet_asr_denseCap/anet_6fps_224/{id}.mp4"),
    as_it_is="activitynet_captions",
)
