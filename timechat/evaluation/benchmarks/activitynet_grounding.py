"""ActivityNet grounding: when does each sentence of ActivityNet Captions happen? R@1 at IoU 0.3, 0.5, 0.7.

Formats: `activitynet.py`; one question per sentence, whose id is v_ID#k, k counting a video's sentences from 0. The
coco form of grounding (`{"annotations": [{"image_id", "caption", "timestamp": [start, end], "id"}]}`) is read as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.evaluation.benchmarks.activitynet import event_rows, video_files
from timechat.evaluation.benchmarks.annotations import Row, check_rows, read_annotation_json
from timechat.evaluation.benchmarks.dense_captioning import true_events
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.registry import registry


@registry.register_benchmark("activitynet_grounding")
class ActivityNetGrounding(TemporalGrounding):
    """Temporal grounding; see the head of this file for its formats."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per sentence, in coco form."""
        content = read_annotation_json(anno_path)
        found = _grounding_rows(content)
        if found is None:
            found = [pair for where, row in event_rows(anno_path, content) for pair in _sentences(where, row)]
        return check_rows(anno_path, found, coco_problems, self.row_id)

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """All names in use."""
        return video_files(row["image_id"])


def _grounding_rows(content: Any) -> list[tuple[str, Any]] | None:
    """Rows of the coco form of grounding; None for every other form."""
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not any(isinstance(row, dict) and "timestamp" in row for row in rows):
        return None
    return [(f"annotations[{i}]", row) for i, row in enumerate(rows)]


def _sentences(where: str, row: Row) -> Iterable[tuple[str, Row]]:
    stem = PurePosixPath(row["image_id"]).stem
    for number, (start, end, sentence) in enumerate(true_events(row)):
        yield (
            f"{where}, sentence {number}",
            {
                "image_id": row["image_id"],
                "caption": sentence,
                "timestamp": [start, end],
                "id": f"{stem}#{number}",
                "duration": row.get("duration"),
            },
        )
