"""Ego4D natural language queries: where in eight minutes of somebody's day is the answer to a question?

Reads the benchmark's own file (`nlq_val.json`: `{"videos": [{"video_uid", "clips": [{"clip_uid", "video_start_sec",
"video_end_sec", "annotations": [{"annotation_uid", "language_queries": [{"query", "clip_start_sec",
"clip_end_sec"}]}]}]}]}`) and rows in seconds (`{"qid", "query", "duration", "vid", "relevant_windows"}`, as JSON lines,
a JSON list or parquet). The id of the former is CLIP/ANNOTATION/k, k the query's number there. The video is CLIP.mp4,
or VIDEO.mp4 of which the clip's part is watched; times count from the clip's begin.

As in the official script, an interval hits when its IoU is *above* the threshold (not at it), R@5 takes the best of the
first five intervals that an answer names, and mIoU is the first one's. Queries without text, of which the download has
some, are left out and counted. `ego4d_nlq_submission.json` is what the challenge's server takes; of the test split,
whose times are hidden, there is nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, is_number, text_problems, video_problems
from timechat.evaluation.benchmarks.contract import Example
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems, true_interval
from timechat.evaluation.benchmarks.grounding_forms import grounding_rows
from timechat.evaluation.benchmarks.rows import read_annotations
from timechat.evaluation.controls import Controls
from timechat.evaluation.metrics.grounding import score_recall
from timechat.registry import registry

SUBMISSION = "ego4d_nlq_submission.json"
MOST = 5  # intervals of an answer that count


@registry.register_benchmark("ego4d_nlq")
class Ego4DNLQ(TemporalGrounding):
    """Temporal grounding; see the head of this file for its formats."""

    main_scores = ("R@1 IoU=0.3", "R@1 IoU=0.5", "R@5 IoU=0.3", "R@5 IoU=0.5", "mIoU")

    def __init__(self) -> None:
        self._left_out = 0

    def read(self, anno_path: str | Path) -> list[Row]:
        """One row per query, in coco form; without times where they are hidden."""
        content = read_annotations(anno_path)
        self._left_out = 0
        if not isinstance(content, dict) or "annotations" in content:
            return check_rows(anno_path, grounding_rows(anno_path, content), coco_problems, self.row_id)
        rows = list(_queries(anno_path, content))
        asked = [(where, row) for where, row in rows if not isinstance(row, dict) or row["caption"]]
        hidden = all(isinstance(row, dict) and row["timestamp"] is None for _, row in asked)
        checked = check_rows(anno_path, asked, _problems if hidden else coco_problems, self.row_id)
        self._left_out = len(rows) - len(asked)
        return checked

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The clip, then the video that it is a part of."""
        return (row["image_id"], *([f"{row['video_uid']}.mp4"] if "video_uid" in row else []))

    def clip_of(self, row: Row, video: str) -> tuple[float | None, float | None, float | None]:
        """The clip's part of the whole video; all of a clip that was cut already."""
        if "video_uid" not in row or PurePosixPath(video).stem != row["video_uid"]:
            return None, None, None
        return row["begin"], row["begin"] + row["duration"], None

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Recall of the first interval and of the first five; counts alone where the times are hidden."""
        predictions = {
            key: [list(interval) for interval in parsed.get(key, [])[:MOST]]
            for key in map(self.row_id, rows)
            if key in answered
        }
        if rows[0]["timestamp"] is None:
            return {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}, predictions
        truth = {self.row_id(row): true_interval(row) for row in rows}
        return score_recall(predictions, truth, thresholds=(0.3, 0.5), ranks=(1, MOST)), predictions

    def example(self, row: Row, parsed: Any | None) -> Example:
        """As of all grounding; of hidden times only what was predicted."""
        if row["timestamp"] is not None:
            return super().example(row, parsed)
        return Example(self.row_id(row), row["image_id"], self.query_of(row), 0.0, (), (parsed or [])[:1])

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """As of all grounding; none where the times are hidden."""
        if rows[0]["timestamp"] is None:
            return Controls()
        return super().controls(rows, parsed, answered, train, durations)

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """The submission; an answer that names no time is left out there. Of JSON lines, which lack its ids, none."""
        results = [
            {
                "clip_uid": row["clip_uid"],
                "annotation_uid": row["annotation_uid"],
                "query_idx": row["query_idx"],
                "predicted_times": [list(interval) for interval in parsed[self.row_id(row)][:MOST]],
            }
            for row in rows
            if "clip_uid" in row and self.row_id(row) in parsed
        ]
        whole = {"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": results}
        return {SUBMISSION: json.dumps(whole) + "\n"} if "clip_uid" in rows[0] else {}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What was left out, and what is not scored."""
        told = [f"{self._left_out} queries of the file have no text and were not asked."] if self._left_out else []
        if rows[0]["timestamp"] is None:
            told.append(f"The file has no times, so nothing is scored; {SUBMISSION} holds the answers for the server.")
        return told


def _queries(path: str | Path, content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every query of the benchmark's own file, unchecked. Raises AnnotationError."""
    try:
        for video in content["videos"]:
            for clip in video["clips"]:
                yield from _of_clip(video["video_uid"], clip)
    except (KeyError, TypeError) as error:
        raise AnnotationError(
            f"{path}: expected videos with clips, annotations and language_queries, as the download has them "
            f"({type(error).__name__}: {error}); download it again"
        ) from error


def _of_clip(video: str, clip: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    begin, end = clip["video_start_sec"], clip["video_end_sec"]
    for annotation in clip["annotations"]:
        for number, query in enumerate(annotation["language_queries"]):
            key = f"{clip['clip_uid']}/{annotation['annotation_uid']}/{number}"
            start, stop = query.get("clip_start_sec"), query.get("clip_end_sec")
            yield (
                f"query {key}",
                {
                    "image_id": f"{clip['clip_uid']}.mp4",
                    "caption": (query.get("query") or "").strip(),
                    "timestamp": None if start is None and stop is None else [start, stop],
                    "id": key,
                    "duration": end - begin,
                    "begin": begin,
                    "video_uid": video,
                    "clip_uid": clip["clip_uid"],
                    "annotation_uid": annotation["annotation_uid"],
                    "query_idx": number,
                },
            )


def _problems(row: Row) -> Iterable[str]:
    """What is wrong with a row whose times are hidden."""
    yield from video_problems(row, "image_id")
    yield from text_problems(row, "caption")
    if not is_number(row["begin"]):
        yield f"video_start_sec is {row['begin']!r}: it must be a number of seconds"
