"""QVHighlights: which clips of the video are highlights for the query? mAP and HIT@1 at three levels of saliency.

Reads its JSON lines (`{"qid", "query", "duration", "vid", "relevant_clip_ids", "saliency_scores"}`) of a labelled
split. A clip lasts 2 seconds; a video's file is VID.mp4 or v_VID.mp4, whichever is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    is_number,
    read_annotation_text,
    text_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.structured import Saliency
from timechat.evaluation.benchmarks.timeit import is_timeit, read_timeit
from timechat.evaluation.constant_answers import fit_profile, stretch
from timechat.evaluation.controls import (
    BLIND,
    CONSTANT,
    NO_TRAIN,
    WHOLE,
    Controls,
    ControlTable,
    grouped,
    mean_saliency,
)
from timechat.evaluation.metrics import highlight_scores, score_highlights
from timechat.evaluation.metrics.highlights import CLIP_SECONDS, average_precision, published_clip_of_time
from timechat.evaluation.parsing import parse_highlights
from timechat.registry import registry
from timechat.schema import Section, key

CLIP_OF_TIME: dict[str, Callable[[float], int]] = {
    "published": published_clip_of_time,  # int((t - 1) / 2)
    "start": lambda seconds: int(seconds / CLIP_SECONDS),  # what the training data mean: t is where the clip begins
}
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
        lines = read_annotation_text(anno_path).split("\n")
        rows = [(f"line {number}", _row(line)) for number, line in enumerate(lines, 1) if line.strip()]
        return check_rows(anno_path, rows, _problems, self.row_id)

    def row_id(self, row: Row) -> str:
        """The field qid."""
        return str(row["qid"])

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The two names in use."""
        return f"{row['vid']}.mp4", f"v_{row['vid']}.mp4"

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
            return self.read(path)
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
        predictions = [
            {
                "qid": row["qid"],
                "query": self.query_of(row),
                "vid": row["vid"],
                "pred_saliency_scores": self._clip_scores(row, parsed.get(self.row_id(row), [])),
            }
            for row in rows
            if self.row_id(row) in answered
        ]
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
        true = true_saliency(row)
        predicted = ([*self._clip_scores(row, parsed), *[0.0] * len(true)])[: len(true)] if parsed else []
        quality = average_precision(true >= GOOD, np.asarray(predicted)) if parsed else 0.0
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
        table = ControlTable(
            lambda *given: self.evaluate(*given)[0], rows, parsed, answered, self.row_id, self.main_scores
        )
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

    def _clip_scores(self, row: Row, said: list[tuple[float, float]] | Saliency) -> list[float]:
        if isinstance(said, Saliency):
            return list(said.scores)
        return highlight_scores(said, row["duration"], self.clip_of_time)


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


def _row(line: str) -> Any:
    """A line as JSON, or the line itself if it is not JSON, to be refused by the check."""
    try:
        return json.loads(line)
    except ValueError:
        return line


def _problems(row: Row) -> Iterable[str]:
    yield from id_problems(row, "qid")
    yield from text_problems(row, "query")
    yield from video_problems(row, "vid")
    duration = row.get("duration")
    if not is_number(duration) or duration < CLIP_SECONDS:
        yield f"duration is {duration!r}: it must be a number of seconds, {CLIP_SECONDS} or more"
        return
    clips, scores = row.get("relevant_clip_ids"), row.get("saliency_scores")
    if not isinstance(clips, list) or not isinstance(scores, list):
        yield "relevant_clip_ids or saliency_scores is missing; evaluate a labelled split such as val"
        return
    last = int(duration / CLIP_SECONDS) - 1
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
