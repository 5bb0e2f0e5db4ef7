"""ActivityNet dense captioning: which events does the video show, and when? Formats: `activitynet.py`."""

from __future__ import annotations

from pathlib import Path

from timechat.evaluation.benchmarks.activitynet import video_files
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.dense_captioning import DenseCaptioning
from timechat.evaluation.benchmarks.event_forms import event_rows
from timechat.evaluation.benchmarks.rows import read_annotations
from timechat.registry import registry


@registry.register_benchmark("activitynet_captions")
class ActivityNetCaptions(DenseCaptioning):
    """Dense video captioning; one question per video, whose id is v_ID.mp4 (in the coco form: image_id)."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per video."""
        return [row for _, row in event_rows(anno_path, read_annotations(anno_path))]

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """All names in use."""
        return video_files(row["image_id"])
