"""ActivityNet Captions as both of its benchmarks read it: dense captioning and grounding.

Reads the raw download (train.json, val_1.json, val_2.json: `{"v_ID": {"duration", "timestamps": [[start, end], ...],
"sentences": [...]}}`, seconds) and TimeIT's coco form of it (`{"annotations": [{"image_id": "v_ID.mp4", "segments",
"pure_cap", ...}]}`). A video's file is ID.mp4, ID.mkv or ID.webm, with v_ before it or without: whichever is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows
from timechat.evaluation.benchmarks.dense_captioning import dense_problems

SUFFIXES = (".mp4", ".mkv", ".webm")
PREFIX = "v_"
_ID_LENGTH = 11  # of YouTube: an id may itself begin with v_


def event_rows(path: str | Path, content: Any) -> list[tuple[str, Row]]:
    """Where each video stands in the file, and its row: image_id, segments, captions or pure_cap, duration.

    Args:
        path: of the file, for messages.
        content: what it holds.

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    if not isinstance(content, dict):
        raise AnnotationError(
            f'{path}: expected {{"v_ID": {{"duration", "timestamps", "sentences"}}}} or the coco form, '
            f"found {str(content)[:60]!r}"
        )
    if isinstance(content.get("annotations"), list):
        rows, check = [(f"annotations[{i}]", row) for i, row in enumerate(content["annotations"])], dense_problems
    else:
        rows, check = [(repr(key), _raw_row(key, entry)) for key, entry in content.items()], _raw_problems
    return list(zip((where for where, _ in rows), check_rows(path, rows, check, _image_id), strict=True))


def video_files(image_id: str) -> tuple[str, ...]:
    """The names that a video's file may have; that of the annotations first."""
    path = PurePosixPath(image_id)
    stem = path.stem if path.suffix in SUFFIXES else path.name
    bare = stem.removeprefix(PREFIX) if len(stem) > _ID_LENGTH else stem
    names = [image_id, *(f"{prefix}{bare}{suffix}" for prefix in (PREFIX, "") for suffix in SUFFIXES)]
    return tuple(dict.fromkeys(str(path.with_name(PurePosixPath(name).name)) for name in names))


def _image_id(row: Row) -> str:
    return row["image_id"]


def _raw_row(key: str, entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    captions = entry.get("sentences", [])
    if isinstance(captions, list):
        captions = [caption.strip() if isinstance(caption, str) else caption for caption in captions]
    return {
        "image_id": f"{key}{SUFFIXES[0]}",
        "duration": entry.get("duration"),
        "segments": entry.get("timestamps"),
        "captions": captions,
    }


def _raw_problems(row: Row) -> Iterable[str]:
    """Problems of a row under the names that the raw download has for its fields."""
    for problem in dense_problems(row):
        yield problem.replace("segments", "timestamps").replace("captions", "sentences")
