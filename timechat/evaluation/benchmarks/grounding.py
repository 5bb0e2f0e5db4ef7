"""Temporal grounding, whatever the benchmark: one query, one true interval, R@1 and mean IoU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from timechat.evaluation.benchmarks.annotations import (
    Row,
    id_problems,
    interval_problems,
    text_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.contract import Benchmark, Example, Interval
from timechat.evaluation.benchmarks.structured import Structured, Windows
from timechat.evaluation.benchmarks.timeit import is_timeit, read_timeit
from timechat.evaluation.constant_answers import fit_interval
from timechat.evaluation.controls import (
    BLIND,
    CONSTANT,
    CONTROL_IOU,
    NO_DURATION,
    NO_TRAIN,
    WHOLE,
    Controls,
    ControlTable,
    central_interval,
    grouped,
    missing_durations,
)
from timechat.evaluation.metrics import score_grounding
from timechat.evaluation.metrics.intervals import grounding_iou
from timechat.evaluation.parsing import parse_grounding


class TemporalGrounding(Benchmark):
    """A grounding benchmark; subclasses read rows in coco form: image_id, caption, timestamp [start, end], id."""

    task = "temporal grounding"
    prompt_file = "grounding.txt"
    answers_are_times = True
    main_scores: ClassVar[tuple[str, ...]] = ("R@1 IoU=0.3", "R@1 IoU=0.5", "R@1 IoU=0.7", "mIoU")
    structured: ClassVar[tuple[type[Structured], ...]] = (Windows,)
    control_scores: ClassVar[tuple[str, ...]] = ()  # those that controls are compared by; () is the main scores
    split_score: ClassVar[str] = f"R@1 IoU={CONTROL_IOU}"  # the one that is split by the number of queries of a video

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

    def take(self, given: Windows, row: Row) -> list[Interval]:
        """All intervals; the first one counts."""
        return list(given.intervals)

    def read_train(self, path: str | Path) -> list[Row]:
        """As the benchmark's own annotations, or in TimeIT's form for training."""
        if not is_timeit(path):
            return self.read(path)
        turns = read_timeit(path, lambda answer: parse_grounding(answer)[0])
        return [
            {"image_id": video, "caption": question, "timestamp": list(interval), "id": number}
            for number, (video, question, interval) in enumerate(turns)
        ]

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
        predicted, true = (parsed or [])[:1], [true_interval(row)]
        quality = float(grounding_iou(predicted, true)[0, 0]) if predicted else 0.0
        return Example(self.row_id(row), row["image_id"], self.query_of(row), quality, true, predicted)

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """All four controls, and R@1 at IoU 0.5 by the number of queries of a video."""
        table = self.control_table(rows, parsed, answered, self.control_scores)
        lengths = {self.row_id(row): self.duration_of(row, durations) for row in rows}
        self._constant(table, rows, lengths, train, durations)
        whole = {key: [(0.0, length)] for key, length in lengths.items() if length is not None}
        if whole:
            table.add(WHOLE, whole, f"from 0 to the end of the video{missing_durations(lengths.values())}")
        else:
            table.leave_out(WHOLE, NO_DURATION)
        blind: dict[str, Any] = {}
        for group in grouped(rows, _video):
            best = central_interval([true_interval(row) for row in group])
            blind |= {self.row_id(row): [best] for row in group}
        table.add(BLIND, blind, "one interval per video: the true interval that matches most of its queries")
        table.shuffle_within_groups(_video, "about the same video")
        table.split_by_size(_video, self.split_score)
        return table.result()

    def _constant(
        self,
        table: ControlTable,
        rows: list[Row],
        lengths: Mapping[str, float | None],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> None:
        """Add the constant interval, in seconds or as shares of the duration: what is better on the train split."""
        if train is None:
            table.leave_out(CONSTANT, NO_TRAIN)
            return
        timed = [(true_interval(row), self.duration_of(row, durations)) for row in train]
        seconds = fit_interval([interval for interval, _ in timed])
        start, end = seconds.interval
        fitted = f"fitted to {len(train)} queries of the train split"
        with_length = [(interval, length) for interval, length in timed if length is not None]
        if len(with_length) == len(timed) and any(length is not None for length in lengths.values()):
            shares = fit_interval([(s / length, e / length) for (s, e), length in with_length])
            if (shares.hits, shares.mean_iou) >= (seconds.hits, seconds.mean_iou):
                start, end = shares.interval
                answers = {key: [(start * x, end * x)] for key, x in lengths.items() if x is not None}
                note = f"from {100 * start:.1f} to {100 * end:.1f} percent of the video, {fitted}"
                table.add(CONSTANT, answers, note + missing_durations(lengths.values()))
                return
        answers = {key: [(start, end)] for key in lengths}
        table.add(CONSTANT, answers, f"{start:.1f} - {end:.1f} seconds, {fitted}")


def true_interval(row: Row) -> Interval:
    """The row's true start and end in seconds, in ascending order."""
    return min(row["timestamp"]), max(row["timestamp"])


def coco_problems(row: Row) -> Iterable[str]:
    """What is wrong with a row in coco form."""
    yield from id_problems(row, "id")
    yield from video_problems(row, "image_id")
    yield from text_problems(row, "caption")
    yield from interval_problems(row.get("timestamp"), "timestamp")


def _video(row: Row) -> str:
    return row["image_id"]
