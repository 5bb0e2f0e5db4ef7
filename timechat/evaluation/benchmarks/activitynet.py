"""ActivityNet Captions as both of its benchmarks read it: dense captioning and grounding.

Reads the raw download (train.json, val_1.json, val_2.json: `{"v_ID": {"duration", "timestamps": [[start, end], ...],
"sentences": [...]}}`, seconds), PDVC's copy of it, TimeIT's coco form and rows, see `event_forms.py`. A video's file is
called ID, with v_ before it or without: whichever is there.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from timechat.evaluation.benchmarks.annotations import VIDEO_SUFFIXES, with_all_suffixes

PREFIX = "v_"
_ID_LENGTH = 11  # of YouTube: an id may itself begin with v_


def video_files(image_id: str) -> tuple[str, ...]:
    """The names that a video's file may have; that of the annotations first."""
    path = PurePosixPath(image_id)
    stem = path.stem if path.suffix in VIDEO_SUFFIXES else path.name
    bare = stem.removeprefix(PREFIX) if len(stem) > _ID_LENGTH else stem
    usual = (f"{PREFIX}{bare}{VIDEO_SUFFIXES[0]}", f"{bare}{VIDEO_SUFFIXES[0]}")
    return with_all_suffixes(dict.fromkeys((image_id, *(str(path.with_name(name)) for name in usual))))
