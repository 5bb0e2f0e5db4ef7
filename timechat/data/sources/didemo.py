"""DiDeMo: a JSON list of `{"video", "description", "times": [[first, last], ...]}`, each pair by one annotator.

A video is divided into pieces of 5 seconds: from piece i to piece j is 5i - 5(j + 1) seconds. The pair that most
annotators chose counts, of several the first one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timechat.data.reading import BadPart, Found, an_object, json_rows, list_of, parse, stem_of, text_of
from timechat.data.records import Moment
from timechat.data.sources.contract import Asked, Source

PIECE_SECONDS = 5


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each description."""
    return parse(json_rows(path), _moment)


def _moment(where: str, part: Any) -> Moment:
    row = an_object(part)
    video, query = stem_of(text_of(row, "video")), text_of(row, "description")
    pairs = [_pair(value) for value in list_of(row, "times")]
    first, last = Counter(pairs).most_common(1)[0][0]  # among equals the first one
    window = (float(PIECE_SECONDS * first), float(PIECE_SECONDS * (last + 1)))
    return Moment(where, video, query, (window,), whole=True)


def _pair(value: Any) -> tuple[int, int]:
    good = isinstance(value, list) and len(value) == 2 and all(type(piece) is int for piece in value)
    if not good or not 0 <= value[0] <= value[1]:
        raise BadPart(f"times has {str(value)[:60]}: each must be [first, last] piece of 5 seconds, from 0")
    return value[0], value[1]


SOURCE = Source(
    "didemo", "train_data.json, val_data.json or test_data.json", read, {"grounding": "DiDeMo/videos/{id}.mp4"}
)
