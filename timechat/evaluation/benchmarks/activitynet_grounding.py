"""ActivityNet grounding: when does each sentence of ActivityNet Captions happen? R@1 at IoU 0.3, 0.5, 0.7.

Formats: `activitynet.py`; one question per sentence, whose id is v_ID#k, k counting a video's sentences from 0. The
coco form of grounding (`{"annotations": [{"image_id", "caption", "timestamp": [start, end], "id"}]}`) is read as well,
and rows of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.evaluation.benchmarks.activitynet import video_files
from timechat.evaluation.benchmarks.annotations import Row, check_rows
from timechat.evaluation.benchmarks.dense_captioning import true_events
from timechat.evaluation.benchmarks.event_forms import event_rows
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.evaluation.benchmarks.grounding_forms import MOMENTS, QUERIES, grounding_rows
from timechat.evaluation.benchmarks.rows import Rows, read_annotations
from timechat.registry import registry


@registry.register_benchmark("activitynet_grounding")
class ActivityNetGrounding(TemporalGrounding):
    """Temporal grounding; see the head of this file for its formats."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per sentence, in coco form."""
        content = read_annotations(anno_path)
        if _one_query_each(content):
            found = grounding_rows(anno_path, content)
        else:
            found = [pair for where, row in event_rows(anno_path, content) for pair in _sentences(where, row)]
        return check_rows(anno_path, found, coco_problems, self.row_id)

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """All names in use."""
        return video_files(row["image_id"])


def _one_query_each(content: Any) -> bool:
    """Whether the rows of a file are queries; those of every other form are videos."""
    rows: Any = content.get("annotations") if isinstance(content, dict) else None
    if isinstance(content, Rows):
        rows = [row for _, row in content.placed]
    return isinstance(rows, list) and any(
        isinstance(row, dict) and {*QUERIES} & row.keys() and {*MOMENTS} & row.keys() for row in rows
    )


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
