"""YouCook2: which events does the video show, and when? SODA_c, CIDEr, F1.

Reads the raw download (`{"database": {id: {"subset", "annotations": [{"segment": [start, end], "sentence"}]}}}`,
seconds), of which the subset "validation" is evaluated, with videos called ID.mp4; the subset "training" of the same
file is the train split. The coco form, PDVC's and rows: see `event_forms.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, video_file
from timechat.evaluation.benchmarks.dense_captioning import DenseCaptioning, dense_problems
from timechat.evaluation.benchmarks.event_forms import event_rows
from timechat.evaluation.benchmarks.rows import read_annotations
from timechat.evaluation.benchmarks.timeit import is_timeit
from timechat.registry import registry


@registry.register_benchmark("youcook2")
class YouCook2(DenseCaptioning):
    """Dense video captioning; see the head of this file for its formats."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """Rows in coco form, whatever the file's form."""
        return self._read(anno_path, "validation")

    def read_train(self, path: str | Path) -> list[Row]:
        """As the benchmark's own annotations, or in TimeIT's form for training."""
        return super().read_train(path) if is_timeit(path) else self._read(path, "training")

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The file of the video's id, or where the row says it is."""
        return tuple(filter(None, (row["image_id"], row.get("video_path"))))

    def _read(self, path: str | Path, subset: str) -> list[Row]:
        content = read_annotations(path)
        if not isinstance(content, dict) or "database" not in content:
            return [row for _, row in event_rows(path, content)]
        rows = [(f"database[{key!r}]", row) for key, row in _raw_rows(path, content["database"], subset)]
        return check_rows(path, rows, dense_problems, self.row_id)


def _raw_rows(path: str | Path, database: Any, subset: str) -> list[tuple[str, Any]]:
    if not isinstance(database, dict):
        raise AnnotationError(f"{path}: database must be an object, video id -> annotations; download it again")
    return [
        (key, _raw_row(key, entry))
        for key, entry in database.items()
        if not isinstance(entry, dict) or entry.get("subset") == subset
    ]


def _raw_row(key: str, entry: Any) -> Any:
    events = entry.get("annotations") if isinstance(entry, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return {"image_id": video_file(key)}  # the check then says that segments are missing
    return {
        "image_id": video_file(key),
        "duration": entry.get("duration"),
        "segments": [event.get("segment") for event in events],
        "captions": [event.get("sentence") for event in events],
    }
