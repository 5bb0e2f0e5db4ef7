"""Video summarization, whatever the benchmark: which parts of a video matter most? F1 and rank correlation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, read_annotation_json
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.structured import Saliency, Structured
from timechat.evaluation.controls import BLIND, CONSTANT, WHOLE, Controls
from timechat.evaluation.metrics.highlights import average_precision
from timechat.evaluation.metrics.summarization import (
    SHARE,
    STRIDE,
    Segment,
    kendall_tau,
    spearman_rho,
    summarize,
    summary_f1,
)
from timechat.evaluation.parsing import parse_highlights
from timechat.schema import Section, key

SHOT_SECONDS = 2.0  # what an answer's time stands for, and the segments where no others are given


@dataclass
class SummarizationConfig(Section):
    """What `--benchmark-options` may set."""

    segments: str | None = key(
        None,
        "JSON file {video: [[first frame, last frame], ...]}, such as KTS's; without it shots of 2 seconds",
        file=True,
    )


class VideoSummarization(Benchmark):
    """A summarization benchmark.

    `read_videos` of a subclass gives rows with `id`, the video's name; `videos`, the file names that it may have;
    `duration` in seconds; `importance`, what each user thinks of each frame, float [users, frames].

    Args:
        segments: a file of segments, see SummarizationConfig.
    """

    task = "video summarization"
    prompt_file = "summarization.txt"
    answers_are_times = True
    takes_query = False
    main_scores = ("F1", "Kendall tau", "Spearman rho")
    percent = 100.0
    structured: ClassVar[tuple[type[Structured], ...]] = (Saliency,)

    def __init__(self, segments: str | None = None):
        self._segments = None if segments is None else _read_segments(segments)
        self._cached: dict[str, NDArray[np.bool_]] = {}

    @abstractmethod
    def read_videos(self, anno_path: str | Path) -> list[Row]:
        """The checked annotations. Raises AnnotationError."""

    @abstractmethod
    def user_summaries(self, row: Row) -> NDArray[np.bool_]:
        """Each user's summary, bool [users, frames]."""

    @abstractmethod
    def f1_over_users(self, scores: NDArray[Any]) -> float:
        """One F1 from those with each user."""

    @abstractmethod
    def annotated_ranks(self, row: Row) -> NDArray[Any]:
        """What predicted importance is ranked against: float [annotations, frames]; their mean counts."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """The videos; with a file of segments, each must be there and fit."""
        rows = self.read_videos(anno_path)
        for row in rows if self._segments is not None else []:
            self._checked_segments(row)
        return rows

    def row_id(self, row: Row) -> str:
        """The video's name: it is asked about once."""
        return row["id"]

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The names in use."""
        return row["videos"]

    def query_of(self, row: Row) -> str:
        """Nothing: the whole video is asked about."""
        return ""

    def parse(self, answer: str, row: Row) -> list[tuple[float, float]]:
        """(second, importance) pairs."""
        return parse_highlights(answer)

    def take(self, given: Saliency, row: Row) -> Saliency:
        """One number for each shot of 2 seconds."""
        return given

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Fractions, means over all videos; one without an answer scores 0. Predictions: importance of each shot."""
        scores = [self._video_scores(row, parsed.get(row["id"])) for row in rows]
        means = {name: float(np.mean([score[name] for score in scores])) for name in self.main_scores}
        counts = {"found": float(len(answered)), "parsed": float(len(parsed)), "expected": float(len(rows))}
        said = {row["id"]: shot_scores(row, parsed[row["id"]]).tolist() for row in rows if row["id"] in parsed}
        return means | counts, said

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """Every shot alike, and the answers about other videos."""
        table = self.control_table(rows, parsed, answered)
        alike = {row["id"]: Saliency((1.0,) * _shots(row)) for row in rows}
        table.add(WHOLE, alike, "every shot is as good as every other: as many segments as fit")
        table.leave_out(CONSTANT, "needs a train split, and there is none that all agree on")
        table.leave_out(BLIND, "needs a query")
        table.shuffle_within_groups(lambda row: None, "of the file")
        return table.result()

    def read_train(self, path: str | Path) -> list[Row]:
        """There is no train split."""
        raise AnnotationError(f"--train-anno {path}: {self.name} has no train split; leave it out")

    def example(self, row: Row, parsed: Any | None) -> Example:
        """Quality is the average precision of the shots that users find most important."""
        mean = row["importance"].mean(axis=0)
        true = np.array([part.mean() for part in np.array_split(mean, _shots(row))])
        predicted = shot_scores(row, parsed) if parsed is not None else np.zeros(len(true))
        wanted = true >= np.quantile(true, 1 - SHARE)
        return Example(
            row["id"],
            row["videos"][0],
            "",
            average_precision(wanted, predicted) if parsed is not None else 0.0,
            true_saliency=true.tolist(),
            predicted_saliency=predicted.tolist() if parsed is not None else [],
            clip_seconds=SHOT_SECONDS,
        )

    def _video_scores(self, row: Row, said: Any | None) -> dict[str, float]:
        if said is None:
            return dict.fromkeys(self.main_scores, 0.0)
        importance = frame_scores(row, shot_scores(row, said))
        if row["id"] not in self._cached:
            self._cached[row["id"]] = self.user_summaries(row)
        f1 = summary_f1(summarize(importance, self.segments_of(row)), self._cached[row["id"]])
        sampled = importance[::STRIDE]
        annotated = [ranks[::STRIDE] for ranks in self.annotated_ranks(row)]
        return {
            "F1": self.f1_over_users(f1),
            "Kendall tau": float(np.mean([kendall_tau(sampled, ranks) for ranks in annotated])),
            "Spearman rho": float(np.mean([spearman_rho(sampled, ranks) for ranks in annotated])),
        }

    def segments_of(self, row: Row) -> list[Segment]:
        """The parts that a summary is made of: those of the file, or shots of 2 seconds."""
        return shots_of(row) if self._segments is None else self._checked_segments(row)

    def _checked_segments(self, row: Row) -> list[Segment]:
        name, frames = row["id"], row["importance"].shape[1]
        given = (self._segments or {}).get(name)
        if given is None:
            raise AnnotationError(f"segments: none for the video {name!r}; add them, or leave the option out")
        segments = [(first, last + 1) for first, last in given]
        in_order = all(a[1] <= b[0] for a, b in pairwise(segments))
        if not in_order or any(not 0 <= first < end <= frames for first, end in segments):
            raise AnnotationError(f"segments of {name!r}: they must be in order, from 0 to frame {frames - 1}")
        return segments


def shots_of(row: Row) -> list[Segment]:
    """Shots of 2 seconds, in frames."""
    frames, shots = row["importance"].shape[1], _shots(row)
    edges = [round(frames * min(1.0, number * SHOT_SECONDS / row["duration"])) for number in range(shots)] + [frames]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def shot_scores(row: Row, said: list[tuple[float, float]] | Saliency) -> NDArray[Any]:
    """Importance of each shot of 2 seconds, 0 where nothing was said; of several times in a shot the best counts."""
    scores = np.zeros(_shots(row))
    if isinstance(said, Saliency):
        given = np.asarray(said.scores)[: len(scores)]
        scores[: len(given)] = given - min(0.0, float(given.min()))  # a knapsack takes no negative values
        return scores
    for second, importance in said:
        shot = min(int(second / SHOT_SECONDS), len(scores) - 1)
        scores[shot] = max(scores[shot], importance)
    return scores


def frame_scores(row: Row, shots: NDArray[Any]) -> NDArray[Any]:
    """Importance of each frame: that of its shot."""
    frames = row["importance"].shape[1]
    seconds = (np.arange(frames) + 0.5) * row["duration"] / frames
    return shots[np.minimum((seconds / SHOT_SECONDS).astype(np.int64), len(shots) - 1)]


def _shots(row: Row) -> int:
    return max(1, int(np.ceil(row["duration"] / SHOT_SECONDS)))


def _read_segments(path: str) -> dict[str, list[list[int]]]:
    content = read_annotation_json(path)
    good = isinstance(content, dict) and all(
        isinstance(parts, list)
        and all(isinstance(p, list) and len(p) == 2 and all(type(x) is int for x in p) for p in parts)
        for parts in content.values()
    )
    if not good:
        raise AnnotationError(f"{path}: expected {{video: [[first frame, last frame], ...]}} in whole numbers")
    return dict(content)
