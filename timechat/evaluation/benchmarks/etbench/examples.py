"""Samples of E.T. Bench for plots."""

from __future__ import annotations

from typing import Any

from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.contract import Example
from timechat.evaluation.benchmarks.etbench.captions import event_scores
from timechat.evaluation.benchmarks.etbench.rows import EVENTS, GROUNDED_CHOICE, INTERVALS, MOMENT, TASKS
from timechat.evaluation.benchmarks.etbench.scores import sample_scores


def example_of(row: Row, said: Any | None) -> Example:
    """A sample with its answer; quality is the sample's own score, or its IoU where it has one.

    Args:
        row: of `read_samples`.
        said: the parsed answer; None for a miss.
    """
    task = TASKS[row["task"]]
    if task.answer == EVENTS:
        scores = event_scores([row], {} if said is None else {row["id"]: said})
    else:
        scores = sample_scores(row, said)
    predicted: list[tuple[float, float]] = []
    if said is not None:
        if task.answer == MOMENT:
            predicted = [(said, said)]
        elif task.answer == INTERVALS:
            predicted = list(said)
        elif task.answer == GROUNDED_CHOICE:
            predicted = list(said.intervals[:1])
        elif task.answer == EVENTS:
            predicted = [(event["timestamp"][0], event["timestamp"][1]) for event in said]
    captions = task.answer == EVENTS
    return Example(
        id=row["id"],
        video=row["video"],
        query=row["query"],
        quality=scores.get("mIoU", scores[task.score]),
        true=row["intervals"],
        predicted=predicted,
        true_captions=row["captions"] if captions else (),
        predicted_captions=[event["caption"] for event in said or []] if captions else (),
    )
