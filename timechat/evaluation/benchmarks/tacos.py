"""TACoS: when does each sentence about a cooking video of minutes happen? R@1 at IoU 0.3, 0.5, 0.7.

Reads the JSON of 2D-TAN and its successors (`{"s13-d25.avi": {"timestamps": [[first, last], ...], "sentences": [...],
"fps", "num_frames"}}`, in *frames*), one question per sentence with the id s13-d25#k, k from 0; and the JSON lines of
Moment-DETR's successors, in seconds (`{"qid", "query", "duration", "vid", "relevant_windows": [[start, end]]}`, or the
same as a JSON list or parquet). A video is called s13-d25 or s13-d25-cam-002, in any container.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.evaluation.benchmarks.annotations import VIDEO_SUFFIXES, Row, check_rows, is_number
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.evaluation.benchmarks.grounding_forms import grounding_rows, grouped_queries
from timechat.evaluation.benchmarks.rows import read_annotations
from timechat.registry import registry

CAMERA = "-cam-002"


@registry.register_benchmark("tacos")
class TACoS(TemporalGrounding):
    """Temporal grounding; see the head of this file for its formats."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per sentence, in coco form."""
        content = read_annotations(anno_path)
        if isinstance(content, dict) and "annotations" not in content:
            videos = {_stem(name): _in_seconds(entry) for name, entry in content.items()}
            return check_rows(
                anno_path, grouped_queries(videos, moments="timestamps", queries="sentences"), _problems, self.row_id
            )
        return check_rows(anno_path, grounding_rows(anno_path, content), coco_problems, self.row_id)

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """With and without the camera's name."""
        name = str(PurePosixPath(row["image_id"]).with_suffix(""))
        return row["image_id"], f"{name}{CAMERA}{VIDEO_SUFFIXES[0]}"


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix) if PurePosixPath(name).suffix in VIDEO_SUFFIXES else name


def _in_seconds(entry: Any) -> Any:
    """A video of the form in frames; times that are none stay as they are, to be refused by the check."""
    if not isinstance(entry, dict) or not isinstance(entry.get("timestamps"), list):
        return entry
    fps, frames = entry.get("fps"), entry.get("num_frames")
    if not is_number(fps) or fps <= 0 or not is_number(frames):
        return {**entry, "timestamps": [_NO_RATE for _ in entry["timestamps"]]}
    times = [
        [frame / fps for frame in pair] if isinstance(pair, list) and all(map(is_number, pair)) else pair
        for pair in entry["timestamps"]
    ]
    return {**entry, "timestamps": times, "duration": frames / fps}


_NO_RATE = "no time: fps must be above 0, and num_frames a number"


def _problems(row: Row) -> Iterable[str]:
    if row.get("timestamp") == _NO_RATE:
        yield f"timestamps are in frames: {_NO_RATE}"
    else:
        yield from coco_problems(row)
