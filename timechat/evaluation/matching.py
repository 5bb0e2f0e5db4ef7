"""Which prediction of a file belongs to which question of a benchmark: by its id, else by its video and question.

An id counts unless the file says at the same place that it is about another video or question: ids are often just
line numbers, and files are numbered differently. Videos are compared by their names without folder, suffix and `v_`;
questions without case, white space and punctuation at their ends. What fits no question, or several, is left over.
Of several predictions for one question the first counts. All of these are counted and named.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import Annotations, Benchmark
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.structured import Answer
from timechat.evaluation.prediction_files import Prediction, PredictionFile

MAX_NAMED = 20
_EDGE = " \t\r\n.,;:!?\"'`“”‘’"
_VIDEO_SUFFIX = re.compile(r"\.(?:mp4|mkv|webm|avi|mov|m4v|mpe?g|gif|ts|flv|ogv|3gp)$", re.IGNORECASE)

Key = tuple[str, str]  # video and question


@dataclass
class Matched:
    """The predictions of a file, as answers to a benchmark's questions.

    Attributes:
        answers: id of a question -> what the file says.
        prompts: id -> what the model was asked, where the file tells.
        by_id, by_question: how many were found by their id, and by video and question.
        left_over: place and reason of each prediction that belongs to no question.
        doubled: place and id of each further prediction for a question that has one.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    by_id: int = 0
    by_question: int = 0
    left_over: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def match(file: PredictionFile, benchmark: Benchmark, annotations: Annotations) -> Matched:
    """Match the predictions of a file with the rows of the annotations.

    Raises:
        PredictionError: not a single one belongs to a question, or one holds nothing that the benchmark can score.
    """
    index = _Index(benchmark, annotations.rows)
    matched = Matched()
    for prediction in file.predictions:
        row_id, by_id, reason = index.find(prediction)
        if row_id is None:
            matched.left_over.append(f"{prediction.where}: {reason}")
        elif row_id in matched.answers:
            matched.doubled.append(f"{prediction.where}: {row_id}")
        else:
            matched.answers[row_id] = _scorable(prediction, benchmark, file.name)
            matched.by_id += by_id
            matched.by_question += not by_id
            if prediction.prompt is not None:
                matched.prompts[row_id] = prediction.prompt
    if not matched.answers:
        raise PredictionError(
            f"{file.name}: none of its {len(file.predictions)} predictions (form {file.form}) belongs to a question of "
            f"{annotations.path}; {matched.left_over[0]}, and the questions there are called "
            f"{', '.join(list(index.by_id)[:3])}, ...; correct --benchmark, --anno-path or the file"
        )
    return matched


def _scorable(prediction: Prediction, benchmark: Benchmark, name: str) -> Answer:
    """The first form of a prediction that the benchmark scores."""
    for said in prediction.said:
        if isinstance(said, (str, *benchmark.structured)):
            return said
    has = " and ".join(said.words for said in prediction.said if not isinstance(said, str))
    taken = ", ".join(["text", *(form.words for form in benchmark.structured)])
    raise PredictionError(
        f"{name}: {prediction.where}: holds {has}; {benchmark.name} scores {taken}: give one of these"
    )


class _Index:
    """The questions of a benchmark by id, and by video and words."""

    def __init__(self, benchmark: Benchmark, rows: Sequence[Row]):
        self._benchmark = benchmark
        self.by_id = {benchmark.row_id(row): row for row in rows}
        self._by_key: dict[Key, list[str]] = defaultdict(list)
        for key, row in self.by_id.items():
            for video in self._videos(row):
                self._by_key[video, self._question(row)].append(key)

    def find(self, prediction: Prediction) -> tuple[str | None, bool, str]:
        """The id of the question, whether it was found by its id, and else why there is none."""
        row = None if prediction.id is None else self.by_id.get(prediction.id)
        if row is not None and not self._contradicts(prediction, row):
            return prediction.id, True, ""
        asks = self._benchmark.takes_query
        video = prediction.video if asks or prediction.video is not None else prediction.id
        if video is None or (asks and prediction.query is None):
            return None, False, f"no question has the id {prediction.id!r}"
        found = self._by_key.get((video_name(video), plain(prediction.query or "") if asks else ""), [])
        if len(found) == 1:
            return found[0], False, ""
        about = f"the video {video!r}" + (f" and {prediction.query!r}" if asks else "")
        if found:
            return None, False, f"{len(found)} questions have {about} ({', '.join(found[:3])}); give their ids"
        told = f"id {prediction.id!r} is another question there, and " if row is not None else ""
        return None, False, f"{told}no question has {about}"

    def _contradicts(self, prediction: Prediction, row: Row) -> bool:
        """Whether a prediction says that it is about something else than the row."""
        if prediction.video is not None and video_name(prediction.video) not in self._videos(row):
            return True
        if prediction.query is None or not self._benchmark.takes_query:
            return False
        ours, theirs = self._question(row), plain(prediction.query)
        return ours not in theirs and theirs not in ours

    def _videos(self, row: Row) -> set[str]:
        return {video_name(name) for name in self._benchmark.videos_of(row)}

    def _question(self, row: Row) -> str:
        return plain(self._benchmark.question_of(row)) if self._benchmark.takes_query else ""


def video_name(name: str) -> str:
    """A video's name without folder, suffix and the `v_` of ActivityNet."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return _VIDEO_SUFFIX.sub("", last).removeprefix("v_")


def plain(text: str) -> str:
    """A question without case, line breaks, and punctuation at its ends."""
    return " ".join(text.split()).strip(_EDGE).casefold()


def counts_of(matched: Matched, file: PredictionFile, expected: int) -> dict[str, Any]:
    """What became of a file's predictions, for the record of an evaluation."""
    return {
        "file": file.name,
        "form": file.form,
        "predictions": len(file.predictions),
        "expected": expected,
        "found": len(matched.answers),
        "by_id": matched.by_id,
        "by_video_and_question": matched.by_question,
        "left_over": len(matched.left_over),
        "doubled": len(matched.doubled),
        "examples_left_over": matched.left_over[:MAX_NAMED],
        "examples_doubled": matched.doubled[:MAX_NAMED],
    }
