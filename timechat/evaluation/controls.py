"""Controls: scores of answers that ignore the question or the video, because a model can look good without either.

A control replaces the answers and is scored exactly like the model:

- "constant answer": the one answer that scores best on the annotations of the train split, given to every question;
- "whole video": everything that the video shows is the answer;
- "query-blind": a perfect localiser that does not read the query: one answer per video, made from its true answers;
- "shuffled questions": the model's answers to other questions: to another query of the same video or, where a video has
  only one question, about another video.

`Controls` is what a report prints: score | model | constant answer | whole video | query-blind | shuffled questions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from timechat.evaluation.metrics.intervals import grounding_iou

CONTROL_NAMES = ("constant answer", "whole video", "query-blind", "shuffled questions")
CONSTANT, WHOLE, BLIND, SHUFFLED = CONTROL_NAMES
CONTROL_IOU = 0.5
NO_TRAIN = "needs the annotations of the train split (--train-anno)"
NO_DURATION = "needs the durations of the videos, and none is known"

Interval = tuple[float, float]
Row = dict[str, Any]
# (rows, id -> parsed answer, ids with an answer) -> scores in percent
Scorer = Callable[[list[Row], Mapping[str, Any], set[str]], Mapping[str, float]]


class Controls(TypedDict, total=False):
    """What controls score; plain JSON, and empty where a benchmark has none.

    Attributes:
        table: score name -> control name -> value in percent. A control that does not apply is not there.
        by_queries: score name -> number of queries of a video -> the model's value on such videos, in percent.
        left_out: control name -> why it is missing.
        notes: control name -> what exactly it was.
    """

    table: dict[str, dict[str, float]]
    by_queries: dict[str, dict[str, float]]
    left_out: dict[str, str]
    notes: dict[str, str]


class ControlTable:
    """Collects controls, each scored as the model is.

    Args:
        score: the benchmark's own scoring.
        rows: all rows of the benchmark.
        parsed: the model's parsed answers, id -> answer.
        answered: ids with an answer, parsed or not.
        id_of: the id of a row's question.
        names: the scores to keep.
    """

    def __init__(
        self,
        score: Scorer,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: Collection[str],
        id_of: Callable[[Row], str],
        names: Sequence[str],
    ):
        self._score, self._rows, self._parsed, self._answered = score, rows, parsed, answered
        self._id_of, self._names = id_of, names
        self._result = Controls(table={name: {} for name in names}, by_queries={}, left_out={}, notes={})

    def add(self, control: str, answers: Mapping[str, Any], note: str, names: Sequence[str] = ()) -> None:
        """Score answers to all rows; a row without an answer is a miss.

        Args:
            control: its name.
            answers: id -> parsed answer.
            note: what exactly it is.
            names: the scores to keep, where not all are meaningful.
        """
        self._keep(control, self._score(self._rows, answers, set(map(self._id_of, self._rows))), note, names)

    def leave_out(self, control: str, why: str) -> None:
        """Say why a control is missing."""
        self._result["left_out"][control] = why

    def shuffle_within_groups(self, group_of: Callable[[Row], Hashable], what: str) -> None:
        """Give each question the answer to the one before it in its group; groups of one are left out.

        A missing answer is also missing for the question that would get it.

        Args:
            group_of: key of the group within which answers are swapped.
            what: the group in words, for the note.
        """
        groups = [group for group in grouped(self._rows, group_of) if len(group) > 1]
        if not groups:
            self.leave_out(SHUFFLED, f"needs two questions {what}")
            return
        rows = [row for group in groups for row in group]
        source = {self._id_of(row): self._id_of(group[i - 1]) for group in groups for i, row in enumerate(group)}
        note = f"the answer to another question {what}"
        if len(rows) < len(self._rows):
            own = self._score_taking({key: key for key in source}, rows)
            shown = ", ".join(f"{name} {own[name]:.2f}" for name in self._names)
            note += f", over the {len(rows)} of {len(self._rows)} questions that have one; "
            note += f"the model's own answers score there: {shown}"
        self._keep(SHUFFLED, self._score_taking(source, rows), note)

    def split_by_size(self, group_of: Callable[[Row], Hashable], score: str) -> None:
        """One score of the model, by how many questions are asked in a group."""
        by_size: dict[int, list[Row]] = defaultdict(list)
        for group in grouped(self._rows, group_of):
            by_size[len(group)] += group
        self._result["by_queries"][score] = {
            str(size): float(self._score_taking({self._id_of(row): self._id_of(row) for row in rows}, rows)[score])
            for size, rows in sorted(by_size.items())
        }

    def result(self) -> Controls:
        """All that was collected."""
        return self._result

    def _score_taking(self, source: Mapping[str, str], rows: list[Row]) -> Mapping[str, float]:
        """Scores of some rows, when each takes the model's answer to the question that `source` names."""
        parsed = {key: self._parsed[other] for key, other in source.items() if other in self._parsed}
        return self._score(rows, parsed, {key for key, other in source.items() if other in self._answered})

    def _keep(self, control: str, scores: Mapping[str, float], note: str, names: Sequence[str] = ()) -> None:
        for name in names or self._names:
            self._result["table"][name][control] = float(scores[name])
        self._result["notes"][control] = note


def standard_error(percent: float, count: int) -> float:
    """Standard error of a share such as R@1 over `count` questions, in percent: sqrt(p (1 - p) / n).

    Raises:
        ValueError: no questions, or a share outside of 0 to 100.
    """
    if count < 1 or not 0 <= percent <= 100:
        raise ValueError(f"standard error of {percent} percent of {count} questions: give 0 to 100, and 1 or more")
    return math.sqrt(percent * (100.0 - percent) / count)


def grouped(rows: Sequence[Row], group_of: Callable[[Row], Hashable]) -> list[list[Row]]:
    """Rows that share something, groups and rows in the order in which they come."""
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        groups[group_of(row)].append(row)
    return list(groups.values())


def central_interval(intervals: Sequence[Interval]) -> Interval:
    """The interval that matches most of the others at IoU 0.5; among equals, the one with the best mean IoU."""
    iou = grounding_iou(intervals, intervals)
    hits = (iou >= CONTROL_IOU).sum(axis=1)
    return intervals[max(range(len(intervals)), key=lambda i: (hits[i], iou[i].mean()))]


def missing_durations(durations: Collection[float | None]) -> str:
    """For notes: how many questions are misses because the durations of their videos are unknown; empty for none."""
    missing = sum(duration is None for duration in durations)
    return f"; {missing} of {len(durations)} are misses because the duration is unknown" if missing else ""


def mean_saliency(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Mean of saliency profiles of one video; the shorter ones count as 0 behind their ends."""
    total = np.zeros(max(map(len, rows)))
    for row in rows:
        total[: len(row)] += row
    return total / len(rows)
