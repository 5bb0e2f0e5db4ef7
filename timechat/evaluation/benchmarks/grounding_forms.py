"""Rows of grounding as data sets offer them, in one form: image_id, caption, timestamp [start, end], id, duration.

Names differ: the video is image_id, video, video_path, vid or video_id; the query caption, query or sentence; the
moment timestamp, span, relevant_windows or timestamps, as [start, end] or as a list with that one pair; the id id or
qid, else the number of the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from timechat.evaluation.benchmarks.annotations import Row, coco_rows, video_file
from timechat.evaluation.benchmarks.rows import Rows

VIDEOS = ("image_id", "video", "video_path", "vid", "video_id")
QUERIES = ("caption", "query", "sentence")
MOMENTS = ("timestamp", "span", "relevant_windows", "timestamps")
IDS = ("id", "qid")


def grounding_rows(path: str | Path, content: Any) -> list[tuple[str, Any]]:
    """Where each query stands, and its row, unchecked: of rows, and of the coco form of them.

    Args:
        path: of the file, for messages.
        content: what `read_annotations` gives.

    Raises:
        AnnotationError: it is neither.
    """
    if isinstance(content, Rows):
        return [(where, grounding_row(row, number)) for number, (where, row) in enumerate(content.placed)]
    rows = coco_rows(path, content)
    return [(f"annotations[{number}]", grounding_row(row, number)) for number, row in enumerate(rows)]


def grounding_row(raw: Any, number: int) -> Any:
    """One row under this project's names; what is not an object stays as it is, to be refused by the check."""
    if not isinstance(raw, dict):
        return raw
    video = first_of(raw, VIDEOS)
    row = {
        "image_id": video_file(video) if isinstance(video, str) and video else video,
        "caption": first_of(raw, QUERIES),
        "timestamp": one_moment(first_of(raw, MOMENTS)),
        "id": first_of(raw, IDS, number),
    }
    return row | ({"duration": raw["duration"]} if "duration" in raw else {})


def grouped_queries(content: dict[str, Any], *, moments: str, queries: str) -> Iterator[tuple[str, Row | Any]]:
    """Rows of `{video: {moments: [[start, end], ...], queries: [...], "duration"}}`; ids are VIDEO#k, k from 0."""
    for video, entry in content.items():
        times, texts = (entry.get(moments), entry.get(queries)) if isinstance(entry, dict) else (None, None)
        if not isinstance(times, list) or not isinstance(texts, list) or len(times) != len(texts):
            yield repr(video), f"{moments} and {queries} of one length: {entry}"
            continue
        for number, (moment, query) in enumerate(zip(times, texts, strict=True)):
            yield (
                f"{video!r}, query {number}",
                {
                    "image_id": video_file(video),
                    "caption": query,
                    "timestamp": moment,
                    "id": f"{video}#{number}",
                    "duration": entry.get("duration"),
                },
            )


def first_of(raw: Row, names: Sequence[str], default: Any = None) -> Any:
    """The first of these fields that is there and not null."""
    return next((raw[name] for name in names if raw.get(name) is not None), default)


def one_moment(value: Any) -> Any:
    """`[[start, end]]` as `[start, end]`; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
