"""TimeLens-Bench: temporal grounding on corrected annotations of Charades-STA, ActivityNet Captions and QVHighlights.

Reads each set's file (`charades-timelens.json`, ...): `{VID: {"duration", "spans": [[start, end], ...], "queries":
[...]}}`, seconds. One question per query, whose id is VID#k, k counting a video's queries from 0; the video is VID.mp4.
As its own loader does, a query loses the full stop at its end. Train annotations may also be TimeLens-100K's JSON lines
(`{"video_path", "duration", "events": [{"query", "span": [[start, end], ...]}]}`), in which a query with several spans
counts once for each. The official script scores the first pair of numbers of an answer by the same rules as here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.evaluation.benchmarks.grounding_forms import grouped_queries
from timechat.evaluation.benchmarks.rows import Rows, read_annotations
from timechat.evaluation.benchmarks.timeit import is_timeit
from timechat.registry import registry


class TimeLens(TemporalGrounding):
    """One of the three sets; see the head of this file for the format."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per query, in coco form."""
        return self._checked(anno_path, read_annotations(anno_path))

    def query_of(self, row: Row) -> str:
        """The query without the full stop at its end, single blanks between its words."""
        return " ".join(row["caption"].split()).strip(".").strip()

    def read_train(self, path: str | Path) -> list[Row]:
        """TimeLens-100K, TimeIT's form, or the benchmark's own."""
        if is_timeit(path):
            return super().read_train(path)
        content = read_annotations(path)
        if not isinstance(content, Rows):
            return self._checked(path, content)
        rows = [row for where, video in content.placed for row in _events(where, video)]
        return check_rows(path, rows, coco_problems, self.row_id)

    def _checked(self, path: str | Path, content: Any) -> list[Row]:
        if not isinstance(content, dict):
            raise AnnotationError(
                f'{path}: expected {{"VID": {{"duration", "spans", "queries"}}}}, found {str(content)[:60]!r}'
            )
        return check_rows(
            path, grouped_queries(content, moments="spans", queries="queries"), coco_problems, self.row_id
        )


@registry.register_benchmark("charades_timelens")
class CharadesTimeLens(TimeLens):
    """1,313 videos of Charades."""


@registry.register_benchmark("activitynet_timelens")
class ActivityNetTimeLens(TimeLens):
    """Videos of ActivityNet."""


@registry.register_benchmark("qvhighlights_timelens")
class QVHighlightsTimeLens(TimeLens):
    """Videos of QVHighlights; every query has one moment here."""


def _events(where: str, video: Any) -> list[tuple[str, Any]]:
    """A video of TimeLens-100K, one row for each span; what is not one stays as it is, to be refused by the check."""
    events = video.get("events") if isinstance(video, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return [(where, str(video))]
    spans = [(event, span) for event in events for span in event.get("span") or [None]]
    return [
        (
            f"{where}, span {number}",
            {
                "image_id": video.get("video_path"),
                "caption": event.get("query"),
                "timestamp": span,
                "id": f"{where}#{number}",
                "duration": video.get("duration"),
            },
        )
        for number, (event, span) in enumerate(spans)
    ]
