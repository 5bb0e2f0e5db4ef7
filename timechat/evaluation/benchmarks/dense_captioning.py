"""Dense video captioning, whatever the benchmark: which events does a video show, and when?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from timechat.evaluation.benchmarks.annotations import Row, interval_problems, text_problems, video_problems
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.structured import Events
from timechat.evaluation.benchmarks.timeit import is_timeit, read_timeit
from timechat.evaluation.constant_answers import fit_events
from timechat.evaluation.controls import (
    CONSTANT,
    NO_DURATION,
    NO_TRAIN,
    WHOLE,
    Controls,
    ControlTable,
    missing_durations,
)
from timechat.evaluation.metrics import score_dense_captions
from timechat.evaluation.metrics.captions import Meteor
from timechat.evaluation.metrics.dense_captioning import Event, score_dense_caption_videos, split_captions
from timechat.evaluation.metrics.intervals import interval_iou
from timechat.evaluation.parsing import parse_dense_captions


class DenseCaptioning(Benchmark):
    """A dense captioning benchmark; subclasses read rows with image_id, segments and captions or pure_cap.

    A field duration, in seconds, is used by the controls where it is there.
    """

    task = "dense video captioning"
    prompt_file = "dense_captioning.txt"
    main_scores = ("SODA_c", "CIDEr", "METEOR", "F1")
    answers_are_times = True
    takes_query = False
    structured = (Events,)
    percent = 100.0

    def __init__(self) -> None:
        self._meteor: Meteor | None = None

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

    def take(self, given: Events, row: Row) -> list[dict[str, Any]]:
        """As `parse`."""
        return _answer(list(given.events))

    def read_train(self, path: str | Path) -> list[Row]:
        """As the benchmark's own annotations, or in TimeIT's form for training."""
        if not is_timeit(path):
            return self.read(path)
        turns = read_timeit(path, parse_dense_captions)
        return [
            {
                "image_id": video,
                "segments": [event["timestamp"] for event in events],
                "captions": [event["caption"] for event in events],
            }
            for video, _, events in turns
        ]

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """One METEOR process for the scores and all controls."""
        with Meteor() as self._meteor:
            try:
                yield
            finally:
                self._meteor = None

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Score; an answer without events is an empty list in the predictions."""
        predictions = {row["image_id"]: parsed.get(row["image_id"], []) for row in rows if row["image_id"] in answered}
        return score_dense_captions(predictions, {"annotations": rows}, self._meteor), predictions

    def shares(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> dict[str, dict[str, float]]:
        """Each video's scores, all computed at once; a video without events adds 0."""
        videos = score_dense_caption_videos(parsed, {"annotations": rows}, self._meteor)
        return {
            name: {row["image_id"]: videos.get(row["image_id"], {}).get(name, 0.0) for row in rows}
            for name in self.main_scores
        }

    def example(self, row: Row, parsed: list[dict[str, Any]] | None) -> Example:
        """Quality is the F1 of the mean best IoU of predicted and of true events; captions play no part."""
        predicted = [tuple(event["timestamp"]) for event in parsed or []]
        events = true_events(row)
        true = [(start, end) for start, end, _ in events]
        quality = 0.0
        if predicted:
            iou = interval_iou(predicted, true)
            precision, recall = iou.max(axis=1).mean(), iou.max(axis=0).mean()
            quality = float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
        return Example(
            id=row["image_id"],
            video=row["image_id"],
            query="",
            quality=quality,
            true=true,
            predicted=predicted,
            true_captions=[caption for _, _, caption in events],
            predicted_captions=[event["caption"] for event in parsed or []],
        )

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """All but "query-blind": there is no query. The whole video as one event has no caption, so it has only F1."""
        table = self.control_table(rows, parsed, answered)
        lengths = {self.row_id(row): self.duration_of(row, durations) for row in rows}
        self._constant(table, lengths, train, durations)
        whole = {key: _answer([(0.0, length, "")]) for key, length in lengths.items() if length is not None}
        if whole:
            note = f"one event, from 0 to the end of the video{missing_durations(lengths.values())}"
            table.add(WHOLE, whole, note, ("F1",))
        else:
            table.leave_out(WHOLE, NO_DURATION)
        table.shuffle_within_groups(lambda row: None, "of the file")
        return table.result()

    def _constant(
        self,
        table: ControlTable,
        lengths: Mapping[str, float | None],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> None:
        """Add the constant events, in seconds or as shares of the duration: what is better on the train split."""
        if train is None:
            table.leave_out(CONSTANT, NO_TRAIN)
            return
        videos = [true_events(row) for row in train]
        typical = float(np.median([max(end for _, end, _ in events) for events in videos]))
        events, score = fit_events(videos, typical)
        unit = "seconds"
        scales: Mapping[str, float | None] = dict.fromkeys(lengths, 1.0)
        train_lengths = [length for row in train if (length := self.duration_of(row, durations)) is not None]
        if len(train_lengths) == len(train) and any(length is not None for length in lengths.values()):
            scaled = [
                [(start / length, end / length, caption) for start, end, caption in events]
                for events, length in zip(videos, train_lengths, strict=True)
            ]
            shares, share_score = fit_events(scaled, 1.0)
            if share_score >= score:
                events, score, unit, scales = shares, share_score, "shares of the duration", lengths
        answers = {
            key: _answer([(start * scale, end * scale, caption) for start, end, caption in events])
            for key, scale in scales.items()
            if scale is not None
        }
        shown = ", ".join(f"{start:.2f} - {end:.2f}" for start, end, _ in events)
        note = f"{shown} {unit}, each with the most frequent caption near it; F1 {100 * score:.2f} on the train split"
        table.add(CONSTANT, answers, note + missing_durations(scales.values()))


def true_events(row: Row) -> list[Event]:
    """The row's events, in seconds, start before end."""
    captions = row.get("captions")
    if captions is None:
        captions = split_captions(row["pure_cap"], len(row["segments"]))
    return [(min(segment), max(segment), caption) for segment, caption in zip(row["segments"], captions, strict=True)]


def dense_problems(row: Row) -> Iterable[str]:
    """What is wrong with a row."""
    yield from video_problems(row, "image_id")
    segments, captions = row.get("segments"), row.get("captions")
    if not isinstance(segments, list) or not segments:
        yield f"segments is {segments!r}: it must be a list of [start, end]"
        return
    for i, segment in enumerate(segments):
        yield from interval_problems(segment, f"segments[{i}]")
    if captions is None:
        yield from text_problems(row, "pure_cap")
        captions = split_captions(str(row.get("pure_cap")), len(segments))
    elif not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        yield f"captions is {str(captions)[:60]!r}: it must be a list of strings"
        return
    if len(captions) != len(segments):
        yield f"{len(captions)} captions, but {len(segments)} segments; give one for each"


def _answer(events: list[Event]) -> list[dict[str, Any]]:
    return [{"timestamp": [start, end], "caption": caption} for start, end, caption in events]
