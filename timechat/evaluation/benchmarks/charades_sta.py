"""Charades-STA: when does the described moment happen? R@1 at IoU 0.3, 0.5, 0.7.

Reads the raw text file, one query a line (`AO8RW 0.0 6.9##a person is putting a book on a shelf.`, seconds; the video
is AO8RW.mp4 and the id is the line's number from 0), and the coco form of the same
(`{"annotations": [{"image_id", "caption", "timestamp": [start, end], "id"}]}`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.evaluation.benchmarks.base import (
    Benchmark,
    Example,
    Interval,
    Row,
    check_rows,
    id_problems,
    interval_problems,
    read_annotation_text,
    read_coco,
    text_problems,
    video_problems,
)
from timechat.evaluation.metrics import score_grounding
from timechat.evaluation.metrics.intervals import interval_iou
from timechat.evaluation.parsing import parse_grounding

CONTROL_IOU = 0.5


class CharadesSTA(Benchmark):
    """Temporal grounding; see the head of this file for its formats."""

    name = "charades_sta"
    task = "temporal grounding"
    prompt_file = "grounding.txt"
    main_scores = ("R@1 IoU=0.3", "R@1 IoU=0.5", "R@1 IoU=0.7", "mIoU")

    def read(self, anno_path: str | Path) -> list[Row]:
        """Rows in coco form, whatever the file's form."""
        if Path(anno_path).suffix == ".json":
            rows = [(f"annotations[{i}]", row) for i, row in enumerate(read_coco(anno_path))]
        else:
            lines = read_annotation_text(anno_path).split("\n")
            rows = [
                (f"line {number}", _line_row(line, number - 1)) for number, line in enumerate(lines, 1) if line.strip()
            ]
        return check_rows(anno_path, rows, _problems, self.row_id)

    def row_id(self, row: Row) -> str:
        """The field id."""
        return str(row["id"])

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The field image_id."""
        return (row["image_id"],)

    def query_of(self, row: Row) -> str:
        """The field caption."""
        return row["caption"].strip()

    def parse(self, answer: str, row: Row) -> list[Interval]:
        """All intervals of an answer; the first one counts."""
        return parse_grounding(answer)

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Score; an answer without times is an empty list in the predictions."""
        predictions = {
            key: {
                "timestamp": [list(interval) for interval in parsed.get(key, [])],
                "query": self.query_of(row),
                "vid": row["image_id"],
            }
            for key, row in ((self.row_id(row), row) for row in rows)
            if key in answered
        }
        return score_grounding(predictions, {"annotations": rows}), predictions

    def example(self, row: Row, parsed: list[Interval] | None) -> Example:
        """Quality is the IoU."""
        predicted, true = (parsed or [])[:1], [_truth(row)]
        quality = float(interval_iou(predicted, true)[0, 0]) if predicted else 0.0
        return Example(self.row_id(row), row["image_id"], self.query_of(row), quality, true, predicted)

    def controls(self, rows: list[Row], parsed: Mapping[str, Any]) -> dict[str, float]:
        """R@1 at IoU 0.5 of three listeners that do not hear the query, and by the number of queries of a video.

        A model that scores no better than a perfect localiser that ignores the query, or as well with the answers
        to another query of the same video, has not learned to read the query.
        """
        videos: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            videos[row["image_id"]].append(row)
        by_size: dict[int, list[float]] = defaultdict(list)
        swapped, blind = [], []
        for group in videos.values():
            answers = [parsed.get(self.row_id(row), [])[:1] for row in group]
            true = [_truth(row) for row in group]
            by_size[len(group)] += [_hit(answer, t) for answer, t in zip(answers, true, strict=True)]
            if len(group) > 1:
                swapped += [_hit(answers[i - 1], t) for i, t in enumerate(true)]
            blind += [max(sum(_hit([guess], t) for t in true) for guess in true) / len(true)] * len(true)
        label = f"R@1 IoU={CONTROL_IOU}"
        result = {f"{label}, best interval of a video whatever the query": _percent(blind)}
        if swapped:
            result[f"{label}, answers swapped within a video"] = _percent(swapped)
        result |= {
            f"{label}, videos with {n} {'query' if n == 1 else 'queries'}": _percent(by_size[n])
            for n in sorted(by_size)
        }
        return result


def _truth(row: Row) -> Interval:
    return min(row["timestamp"]), max(row["timestamp"])


def _hit(predicted: list[Interval], true: Interval) -> float:
    return float(bool(predicted) and interval_iou(predicted, [true])[0, 0] >= CONTROL_IOU)


def _percent(hits: list[float]) -> float:
    return 100.0 * sum(hits) / len(hits)


def _line_row(line: str, number: int) -> Row | str:
    """A line of the raw file as a row in coco form, or the line itself if it is none."""
    head, mark, sentence = line.partition("##")
    parts = head.split()
    try:
        name, start, end = parts[0], float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        return line
    if not mark or len(parts) != 3:
        return line
    return {"image_id": f"{name}.mp4", "caption": sentence, "timestamp": [start, end], "id": number}


def _problems(row: Row) -> Iterable[str]:
    yield from id_problems(row, "id")
    yield from video_problems(row, "image_id")
    yield from text_problems(row, "caption")
    yield from interval_problems(row.get("timestamp"), "timestamp")
