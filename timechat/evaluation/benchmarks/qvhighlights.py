"""QVHighlights: which clips of the video are highlights for the query? mAP and HIT@1 at three levels of saliency.

Reads its JSON lines (`{"qid", "query", "duration", "vid", "relevant_clip_ids", "saliency_scores"}`), and the same rows
as a JSON list or parquet. A clip lasts 2 seconds; a video's file is VID.mp4 or v_VID.mp4, whichever is there.

Where no row has labels (the split test), nothing is scored. Either way `qvhighlights_submission.jsonl` holds what the
benchmark's own scorer and its server read: one line per query, with the saliency of every clip. It has no windows: this
task asks for highlights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    is_number,
    text_problems,
    video_file,
    video_problems,
)
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.rows import read_rows
from timechat.evaluation.benchmarks.structured import Saliency
from timechat.evaluation.benchmarks.timeit import is_timeit, read_timeit
from timechat.evaluation.constant_answers import fit_profile, stretch
from timechat.evaluation.controls import (
    BLIND,
    CONSTANT,
    NO_TRAIN,
    WHOLE,
    Controls,
    grouped,
    mean_saliency,
)
from timechat.evaluation.metrics import highlight_scores, score_highlights
from timechat.evaluation.metrics.highlights import CLIP_SECONDS, average_precision, published_clip_of_time
from timechat.evaluation.parsing import parse_highlights
from timechat.io import json_line
from timechat.registry import registry
from timechat.schema import Section, key

CLIP_OF_TIME: dict[str, Callable[[float], int]] = {
    "published": published_clip_of_time,  # int((t - 1) / 2)
    "start": lambda seconds: int(seconds / CLIP_SECONDS),  # what the training data mean: t is where the clip begins
}
LABELS = {"relevant_clip_ids", "saliency_scores"}
SUBMISSION = "qvhighlights_submission.jsonl"
GOOD = 3  # saliency from which a clip counts as a highlight in plots


@dataclass
class QVHighlightsConfig(Section):
    """What `--benchmark-options` may set."""

    clip_of_time: str = key(
        "published",
        "which clip a highlight at t seconds means: published, int((t - 1) / 2) | start, t is where a clip begins",
        choices=tuple(CLIP_OF_TIME),
    )


@registry.register_benchmark("qvhighlights", config=QVHighlightsConfig)
class QVHighlights(Benchmark):
    """Highlight detection; see the head of this file for its format.

    Args:
        clip_of_time: which clip a highlight at t seconds means, a key of CLIP_OF_TIME. Training data say 2 x clip, the
            published scorer reads the clip before that; its rule is the default, to be comparable.
    """

    task = "highlight detection"
    prompt_file = "highlights.txt"
    answers_are_times = True
    main_scores = ("mAP@VeryGood", "HIT@1@VeryGood", "mAP@VeryGood/expected", "HIT@1@VeryGood/expected")

    structured = (Saliency,)

    def __init__(self, clip_of_time: str = "published"):
        self.clip_of_time = CLIP_OF_TIME[clip_of_time]

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of the file."""
        rows = read_rows(anno_path, "rows with qid, query, duration and vid")
        hidden = not any(isinstance(row, dict) and LABELS & row.keys() for _, row in rows)
        return check_rows(anno_path, rows, _question_problems if hidden else _problems, self.row_id)

    def row_id(self, row: Row) -> str:
        """The field qid."""
        return str(row["qid"])

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The two names in use."""
        file = video_file(row["vid"])
        return file, f"v_{file}"

    def query_of(self, row: Row) -> str:
        """The field query."""
        return row["query"].strip()

    def parse(self, answer: str, row: Row) -> list[tuple[float, float]]:
        """(second, saliency) pairs."""
        return parse_highlights(answer)

    def take(self, given: Saliency, row: Row) -> Saliency:
        """The scores as they are."""
        return given

    def read_train(self, path: str | Path) -> list[Row]:
        """As the benchmark's own annotations, or in TimeIT's form for training, which does not tell durations."""
        if not is_timeit(path):
            rows = self.read(path)
            if not has_labels(rows):
                raise AnnotationError(f"{path}: has no labels to fit to; give the annotations of the train split")
            return rows
        turns = read_timeit(path, parse_highlights)
        return [
            {
                "vid": video,
                "relevant_clip_ids": [int(seconds / CLIP_SECONDS) for seconds, _ in highlights],
                "saliency_scores": [[score] for _, score in highlights],
            }
            for video, _, highlights in turns
        ]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Score twice: as published, and with missing and unparsed answers as misses.

        The published code gives a query whose answer holds no highlights the same score in every clip, which earns
        what chance earns, and drops queries without an answer. The keys without "/expected" do the same, to be
        comparable; in those with "/expected" both are misses.
        """
        predictions = [self._submitted(row, parsed) for row in rows if self.row_id(row) in answered]
        if not has_labels(rows):
            return {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}, predictions
        scores = score_highlights(predictions, rows)
        strict = score_highlights([p for p in predictions if str(p["qid"]) in parsed], rows)
        return scores | {key: value for key, value in strict.items() if key.endswith("/expected")}, predictions

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """As published, queries without an answer count only in the scores with "/expected"."""
        shares = super().shares(rows, parsed, answered)
        return {
            name: {key: value for key, value in values.items() if name.endswith("/expected") or key in answered}
            for name, values in shares.items()
        }

    def example(self, row: Row, parsed: list[tuple[float, float]] | Saliency | None) -> Example:
        """Quality is the average precision of the clips whose mean saliency is good."""
        true = true_saliency(row) if has_labels([row]) else np.zeros(0)
        predicted = ([*self._clip_scores(row, parsed), *[0.0] * len(true)])[: len(true)] if parsed else []
        quality = average_precision(true >= GOOD, np.asarray(predicted)) if predicted else 0.0
        return Example(
            self.row_id(row),
            self.videos_of(row)[0],
            self.query_of(row),
            quality,
            true_saliency=true.tolist(),
            predicted_saliency=predicted,
            clip_seconds=CLIP_SECONDS,
        )

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """All four controls; a video has few queries here, so most of "query-blind" is simply right."""
        if not has_labels(rows):
            return Controls()
        table = self.control_table(rows, parsed, answered)
        clips = {self.row_id(row): len(true_saliency(row)) for row in rows}
        if train is None:
            table.leave_out(CONSTANT, NO_TRAIN)
        else:
            profile, note = _constant_profile(train)
            table.add(CONSTANT, {key: _highlights(profile(count)) for key, count in clips.items()}, note)
        flat = {key: _highlights(np.ones(count)) for key, count in clips.items()}
        table.add(WHOLE, flat, "every clip is as good as every other")
        blind: dict[str, Any] = {}
        alone = 0
        for group in grouped(rows, _video):
            mean = mean_saliency([true_saliency(row) for row in group])
            blind |= {self.row_id(row): _highlights(mean[: clips[self.row_id(row)]]) for row in group}
            alone += len(group) == 1
        note = "the mean of the true saliencies of a video's queries"
        note += f"; {alone} of {len(rows)} queries are the only one of their video"
        table.add(BLIND, blind, note)
        table.shuffle_within_groups(_video, "about the same video")
        return table.result()

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """The submission; a query without an answer that could be parsed has 0 everywhere."""
        return {SUBMISSION: "".join(json_line(self._submitted(row, parsed)) for row in rows)}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """That nothing is scored without labels."""
        if has_labels(rows):
            return []
        return [f"The annotations have no labels, so nothing is scored; {SUBMISSION} holds the answers for the server."]

    def _submitted(self, row: Row, parsed: Mapping[str, Any]) -> dict[str, Any]:
        scores = self._clip_scores(row, parsed.get(self.row_id(row), []))
        return {"qid": row["qid"], "query": self.query_of(row), "vid": row["vid"], "pred_saliency_scores": scores}

    def _clip_scores(self, row: Row, said: list[tuple[float, float]] | Saliency) -> list[float]:
        if isinstance(said, Saliency):
            return list(said.scores)
        return highlight_scores(said, row["duration"], self.clip_of_time)


def has_labels(rows: list[Row]) -> bool:
    """Whether rows that `read` gave tell which clips are highlights; all do, or none."""
    return rows[0].keys() >= LABELS


def true_saliency(row: Row) -> NDArray[Any]:
    """Mean saliency of every clip, float [clips]; without a duration, up to the last relevant clip."""
    known = row["relevant_clip_ids"]
    saliency = np.zeros(int(row["duration"] / CLIP_SECONDS) if row.get("duration") else max(known) + 1)
    for clip, scores in zip(known, row["saliency_scores"], strict=True):
        saliency[clip] = np.mean(scores)
    return saliency


def _constant_profile(train: list[Row]) -> tuple[Callable[[int], NDArray[Any]], str]:
    """Number of clips -> mean saliency of the train queries, by relative time where their durations are known."""
    saliencies = [true_saliency(row) for row in train]
    fitted = f"mean saliency of {len(train)} queries of the train split"
    if all(row.get("duration") for row in train):
        relative = fit_profile(saliencies)
        return lambda clips: stretch(relative, clips), f"{fitted}, by relative time"
    mean = mean_saliency(saliencies)
    return lambda clips: np.pad(mean, (0, max(0, clips - len(mean))))[:clips], f"{fitted}, by seconds"


def _highlights(saliency: NDArray[Any]) -> list[tuple[float, float]]:
    """As an answer that names every clip: its middle means that clip under either rule of CLIP_OF_TIME."""
    return [(CLIP_SECONDS * (clip + 0.5), float(score)) for clip, score in enumerate(saliency)]


def _video(row: Row) -> str:
    return row["vid"]


def _question_problems(row: Row) -> Iterable[str]:
    """What is wrong with a row, labels aside."""
    yield from id_problems(row, "qid")
    yield from text_problems(row, "query")
    yield from video_problems(row, "vid")
    if not is_number(row.get("duration")) or row["duration"] < CLIP_SECONDS:
        yield f"duration is {row.get('duration')!r}: it must be a number of seconds, {CLIP_SECONDS} or more"


def _problems(row: Row) -> Iterable[str]:
    found = list(_question_problems(row))
    yield from found
    if any(problem.startswith("duration") for problem in found):
        return
    clips, scores = row.get("relevant_clip_ids"), row.get("saliency_scores")
    if not isinstance(clips, list) or not isinstance(scores, list):
        yield "relevant_clip_ids or saliency_scores is missing; evaluate a labelled split such as val"
        return
    last = int(row["duration"] / CLIP_SECONDS) - 1
    if not clips:
        yield "relevant_clip_ids is empty: a query without highlights cannot be scored"
    if len(set(map(str, clips))) < len(clips):
        yield f"relevant_clip_ids is {str(clips)[:60]}: a clip is listed twice"
    if not all(isinstance(clip, int) and not isinstance(clip, bool) and 0 <= clip <= last for clip in clips):
        yield f"relevant_clip_ids is {str(clips)[:60]}: it must hold clip numbers from 0 to {last}"
    if len(clips) != len(scores):
        yield f"{len(scores)} saliency_scores, but {len(clips)} relevant_clip_ids; give one for each"
    if not all(isinstance(ratings, list) and ratings and all(map(is_number, ratings)) for ratings in scores):
        yield "saliency_scores must be one list of numbers for each clip, one number per annotator"
    elif len(set(map(len, scores))) > 1:
        yield "saliency_scores must hold the same number of ratings for each clip, one per annotator"
