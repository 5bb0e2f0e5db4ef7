"""YouCook2: which events does the video show, and when? SODA_c, CIDEr, F1.

Reads the coco form (`{"annotations": [{"image_id", "segments": [[start, end], ...], "pure_cap": "a. b. c", ...}]}`,
seconds; "captions", a list, takes the place of "pure_cap" where it is given) and the raw download
(`{"database": {id: {"subset", "annotations": [{"segment": [start, end], "sentence"}]}}}`), of which the subset
"validation" is evaluated, with videos called ID.mp4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.base import (
    Benchmark,
    Example,
    Row,
    check_rows,
    interval_problems,
    read_annotation_json,
    read_coco,
    text_problems,
    video_problems,
)
from timechat.evaluation.metrics import score_dense_captions
from timechat.evaluation.metrics.intervals import interval_iou
from timechat.evaluation.parsing import parse_dense_captions

RAW_SUBSET = "validation"


class YouCook2(Benchmark):
    """Dense video captioning; see the head of this file for its formats."""

    name = "youcook2"
    task = "dense video captioning"
    prompt_file = "dense_captioning.txt"
    main_scores = ("SODA_c", "CIDEr", "METEOR", "F1")
    takes_query = False
    percent = 100.0

    def read(self, anno_path: str | Path) -> list[Row]:
        """Rows in coco form, whatever the file's form."""
        content = read_annotation_json(anno_path)
        if isinstance(content, dict) and "database" in content:
            rows = [(f"database[{key!r}]", row) for key, row in _raw_rows(anno_path, content["database"])]
        else:
            rows = [(f"annotations[{i}]", row) for i, row in enumerate(read_coco(anno_path))]
        return check_rows(anno_path, rows, _problems, self.row_id)

    def row_id(self, row: Row) -> str:
        """The video's file: a video is asked about once."""
        return row["image_id"]

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The field image_id."""
        return (row["image_id"],)

    def query_of(self, row: Row) -> str:
        """Nothing: the whole video is asked about."""
        return ""

    def parse(self, answer: str, row: Row) -> list[dict[str, Any]]:
        """Events as {"timestamp": [start, end], "caption"}."""
        return parse_dense_captions(answer)

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Score; an answer without events is an empty list in the predictions."""
        predictions = {row["image_id"]: parsed.get(row["image_id"], []) for row in rows if row["image_id"] in answered}
        return score_dense_captions(predictions, {"annotations": rows}), predictions

    def example(self, row: Row, parsed: list[dict[str, Any]] | None) -> Example:
        """Quality is the F1 of the mean best IoU of predicted and of true events; captions play no part."""
        predicted = [tuple(event["timestamp"]) for event in parsed or []]
        true = [(min(segment), max(segment)) for segment in row["segments"]]
        quality = 0.0
        if predicted:
            iou = interval_iou(predicted, true)
            precision, recall = iou.max(axis=1).mean(), iou.max(axis=0).mean()
            quality = float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
        return Example(row["image_id"], row["image_id"], "", quality, true, predicted)


def _raw_rows(path: str | Path, database: Any) -> list[tuple[str, Any]]:
    if not isinstance(database, dict):
        raise AnnotationError(f"{path}: database must be an object, video id -> annotations; download it again")
    return [
        (key, _raw_row(key, entry))
        for key, entry in database.items()
        if not isinstance(entry, dict) or entry.get("subset") == RAW_SUBSET
    ]


def _raw_row(key: str, entry: Any) -> Any:
    events = entry.get("annotations") if isinstance(entry, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return {"image_id": f"{key}.mp4"}  # the check then says that segments are missing
    return {
        "image_id": f"{key}.mp4",
        "segments": [event.get("segment") for event in events],
        "captions": [event.get("sentence") for event in events],
    }


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "image_id")
    segments, captions = row.get("segments"), row.get("captions")
    if not isinstance(segments, list) or not segments:
        yield f"segments is {segments!r}: it must be a list of [start, end]"
        return
    for i, segment in enumerate(segments):
        yield from interval_problems(segment, f"segments[{i}]")
    if captions is None:
        yield from text_problems(row, "pure_cap")
        captions = [part for part in str(row.get("pure_cap")).split(". ") if part]
    elif not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        yield f"captions is {str(captions)[:60]!r}: it must be a list of texts"
        return
    if len(captions) != len(segments):
        yield f"{len(captions)} captions, but {len(segments)} segments; give as many"
