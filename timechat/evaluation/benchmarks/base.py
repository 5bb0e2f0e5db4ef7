"""What a benchmark is: annotations -> questions, and answers -> scores. Each subclass is one file with its formats."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from timechat.errors import AnnotationError, ConfigError, ParseFailure, PredictionError
from timechat.evaluation.controls import Controls
from timechat.evaluation.echoes import without_echo
from timechat.lfs import refuse_pointer

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"
QUERY_MARKS = ("{query}", "<query_placeholder>")  # this project's, and the one of published prompt files
MAX_LISTED = 10

Interval = tuple[float, float]
Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """One prompt about one video.

    Attributes:
        id: as in the annotations, as a text.
        video: path relative to the folder of videos.
        query: what is looked for; empty where the whole video is asked about.
        prompt: the text that the model gets.
        start, end: the part of the video that is asked about, in seconds; None for all of it.
        frame_rate: where `video` is a folder of pictures: how many of them make a second.
    """

    id: str
    video: str
    query: str
    prompt: str
    start: float | None = None
    end: float | None = None
    frame_rate: float | None = None


@dataclass(frozen=True)
class Failure:
    """An answer that could not be parsed; it counts as a miss."""

    id: str
    video: str
    reason: str
    answer: str


@dataclass(frozen=True)
class Example:
    """One scored question, for plots.

    Attributes:
        quality: 0 (miss) to 1.
        true, predicted: intervals in seconds.
        true_captions, predicted_captions: what is said of each of them (dense captioning alone).
        true_saliency, predicted_saliency: one score a clip (highlights alone).
        clip_seconds: length of such a clip.
    """

    id: str
    video: str
    query: str
    quality: float
    true: Sequence[Interval] = ()
    predicted: Sequence[Interval] = ()
    true_captions: Sequence[str] = ()
    predicted_captions: Sequence[str] = ()
    true_saliency: Sequence[float] = ()
    predicted_saliency: Sequence[float] = ()
    clip_seconds: float = 2.0


@dataclass
class Result:
    """What scoring gives.

    Attributes:
        scores: as the metric names them.
        predictions: in the shape that the benchmark's own scorers read.
        failures: the answers that could not be parsed.
        unanswered: ids of questions without an answer.
        examples: every question, for plots.
        controls: what answers that do not listen would score, in percent.
        files: more files for the output folder (a submission, a judge's input): name -> text.
        notes: what a reader of the scores has to know, one sentence each.
    """

    scores: dict[str, float]
    predictions: Any
    failures: list[Failure]
    unanswered: list[str]
    examples: list[Example]
    controls: Controls = field(default_factory=Controls)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Benchmark(ABC):
    """A benchmark; `questions` and `score` are what callers use.

    Attributes:
        name: as `--benchmark` says it; set by `registry.register_benchmark`.
        task: what is asked, in words.
        prompt_file: default prompt, under `prompts/`.
        main_scores: those that papers report.
        takes_query: whether a prompt has a place for the query.
        percent: factor from a score to percent; counts are left as they are.
        answers_are_times: whether an example in the prompt that an answer repeats would be parsed as an answer.
        uses_durations: whether controls need durations that the annotations do not hold.
        model_defaults: keys of `model` that the published protocol sets; what the user says wins.
        max_new_tokens: how long an answer may get, unless the user says otherwise.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    prompt_file: ClassVar[str]
    main_scores: ClassVar[tuple[str, ...]]
    takes_query: ClassVar[bool] = True
    percent: ClassVar[float] = 1.0
    answers_are_times: ClassVar[bool] = False
    uses_durations: ClassVar[bool] = False
    model_defaults: ClassVar[Mapping[str, Any]] = {}
    max_new_tokens: ClassVar[int] = 512

    @abstractmethod
    def read(self, anno_path: str | Path) -> list[Row]:
        """The checked annotations, one row a question. Raises AnnotationError."""

    @abstractmethod
    def row_id(self, row: Row) -> str:
        """The id of a row's question."""

    @abstractmethod
    def videos_of(self, row: Row) -> tuple[str, ...]:
        """File names that the row's video may have, the usual one first."""

    @abstractmethod
    def query_of(self, row: Row) -> str:
        """What the row looks for."""

    @abstractmethod
    def parse(self, answer: str, row: Row) -> Any:
        """What an answer to the row's question says. Raises ParseFailure."""

    @abstractmethod
    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Scores, and the predictions in the benchmark's shape; `parsed` lacks answers that are missing or failed."""

    @abstractmethod
    def example(self, row: Row, parsed: Any | None) -> Example:
        """One question for plots; `parsed` is None for a miss."""

    def read_train(self, path: str | Path) -> list[Row]:
        """Annotations of the train split, for the best constant answer. Raises AnnotationError."""
        return self.read(path)

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """What answers that do not listen would score, see `controls.py`; nothing by default.

        Args:
            rows, parsed, answered: as for `evaluate`.
            train: rows of the train split.
            durations: of videos, in seconds; some or all may be missing.
        """
        return Controls()

    def scoring(self) -> AbstractContextManager[None]:
        """Held open while scores and controls are computed; for helpers that are slow to start."""
        return nullcontext()

    def duration_of(self, row: Row, durations: Mapping[str, float]) -> float | None:
        """Seconds of the row's video, as the row says or as they were measured; None where neither is so."""
        if is_number(row.get("duration")) and row["duration"] > 0:
            return float(row["duration"])
        return next((durations[name] for name in self.videos_of(row) if name in durations), None)

    def clip_of(self, row: Row, video: str) -> tuple[float | None, float | None, float | None]:
        """The part of `video` that the row asks about: `start`, `end` and `frame_rate` of its question."""
        return None, None, None

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """More files for the output folder, such as a submission: name -> text; none by default."""
        return {}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What a reader of the scores has to know, one sentence each; nothing by default."""
        return []

    def questions(
        self,
        anno_path: str | Path,
        prompt: str,
        *,
        videos_dir: str | Path | None = None,
        limit: int | None = None,
        ids: Collection[str] | None = None,
    ) -> list[Question]:
        """The questions of an annotation file, in its order.

        Args:
            anno_path: the benchmark's annotation file.
            prompt: with `{query}` in it, where the benchmark has queries.
            videos_dir: decides between the names that a video file may have, by which one is there.
            limit: take the first N alone.
            ids: take these questions alone; `limit` counts what is left of them.

        Raises:
            AnnotationError: naming the file, the item, the field and the fix.
            ConfigError: a prompt without a place for the query, or with one that nothing fills; an unknown id.
        """
        self._check_prompt(prompt)
        questions = []
        for row in self._chosen(anno_path, limit, ids):
            query = self.query_of(row)
            names = self.videos_of(row)
            there = (name for name in names if videos_dir is not None and (Path(videos_dir) / name).exists())
            video = next(there, names[0])
            text = fill_prompt(prompt, query)
            questions.append(Question(self.row_id(row), video, query, text, *self.clip_of(row, video)))
        return questions

    def score(
        self,
        answers: Mapping[str, str],
        anno_path: str | Path,
        *,
        limit: int | None = None,
        ids: Collection[str] | None = None,
        train_anno_path: str | Path | None = None,
        durations: Mapping[str, float] | None = None,
        prompt: str | None = None,
    ) -> Result:
        """Parse and score answers; those that are missing or cannot be parsed count as misses.

        Args:
            answers: id -> text.
            anno_path, limit, ids: as for `questions`.
            train_anno_path: the benchmark's annotations of its train split; the best constant answer is fitted to it.
            durations: video file -> seconds, for the controls where the annotations do not say.
            prompt: as for `questions`; an example in it that an answer only repeats is no answer.

        Raises:
            AnnotationError, ConfigError: as for `questions`.
            PredictionError: an answer to a question that was not asked.
        """
        rows = self._chosen(anno_path, limit, ids)
        train = None if train_anno_path is None else self.read_train(train_anno_path)
        parsed, failures = self._parse_all(answers, {self.row_id(row): row for row in rows}, anno_path, prompt)
        answered = set(answers)
        with self.scoring():
            scores, predictions = self.evaluate(rows, parsed, answered)
            controls = self.controls(rows, parsed, answered, train, durations or {})
        return Result(
            scores=scores,
            predictions=predictions,
            failures=failures,
            unanswered=[key for key in map(self.row_id, rows) if key not in answers],
            examples=[self.example(row, parsed.get(self.row_id(row))) for row in rows],
            controls=controls,
            files=self.extra_files(rows, parsed, answers),
            notes=self.notes(rows, parsed),
        )

    def _parse_all(
        self, answers: Mapping[str, str], rows: Mapping[str, Row], anno_path: str | Path, prompt: str | None
    ) -> tuple[dict[str, Any], list[Failure]]:
        unknown = [key for key in answers if key not in rows]
        if unknown:
            raise PredictionError(
                f"{anno_path}: {len(unknown)} answers belong to no question there ({', '.join(unknown[:5])}); "
                "score them against the annotations that were asked"
            )
        parsed, failures = {}, []
        for key, answer in answers.items():
            said = answer
            if prompt is not None and self.answers_are_times:
                said = without_echo(answer, fill_prompt(prompt, self.query_of(rows[key])))
            try:
                parsed[key] = self.parse(said, rows[key])
            except ParseFailure as failure:
                failures.append(Failure(key, self.videos_of(rows[key])[0], failure.reason, answer))
        return parsed, failures

    def _chosen(self, anno_path: str | Path, limit: int | None, ids: Collection[str] | None) -> list[Row]:
        rows = self.read(anno_path)
        if ids is None:
            return rows[:limit]
        wanted = set(ids)
        unknown = sorted(wanted - set(map(self.row_id, rows)))
        if unknown or not wanted:
            told = f"{len(unknown)} of the ids are not there ({', '.join(unknown[:5])})" if unknown else "no ids"
            raise ConfigError(f"{anno_path}: {told}; correct --ids")
        return [row for row in rows if self.row_id(row) in wanted][:limit]

    def in_percent(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores as papers print them; counts stay counts."""
        counts = ("found", "parsed", "expected", "predictions_per_video")
        return {key: value * (1.0 if key in counts else self.percent) for key, value in scores.items()}

    def _check_prompt(self, prompt: str) -> None:
        marked = any(mark in prompt for mark in QUERY_MARKS)
        if self.takes_query and not marked:
            raise ConfigError(
                f"the prompt for {self.name} has no {QUERY_MARKS[0]} in it: nothing says what to look for"
            )
        if marked and not self.takes_query:
            raise ConfigError(
                f"the prompt for {self.name} holds {QUERY_MARKS[0]}, but {self.task} has no query; remove it"
            )


def fill_prompt(prompt: str, query: str) -> str:
    """The prompt with the query in its place."""
    for mark in QUERY_MARKS:
        if mark in prompt:
            return prompt.replace(mark, query)
    return prompt


def load_prompt(path: str | Path) -> str:
    """The text of a prompt file, without white space around it. Raises ConfigError."""
    refuse_pointer(path, ConfigError)
    try:
        prompt = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a prompt file ({error}); correct --prompt-file") from error
    if not prompt:
        raise ConfigError(f"{path}: the prompt file is empty")
    return prompt


# Reading annotations --------------------------------------------------------------------------------------------------


def read_annotation_text(path: str | Path) -> str:
    """The text of an annotation file. Raises AnnotationError."""
    if not Path(path).is_file():
        raise AnnotationError(f"{path}: no such annotation file; correct --anno-path")
    refuse_pointer(path, AnnotationError)
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # some editors put a mark at the front, which is no text
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is no text in UTF-8 ({error}); download it again") from error


def read_annotation_json(path: str | Path) -> Any:
    """A JSON annotation file. Raises AnnotationError."""
    try:
        return json.loads(read_annotation_text(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not valid JSON ({error}); download it again") from error


def read_coco(path: str | Path) -> list[Any]:
    """The list under "annotations" of a file in coco form. Raises AnnotationError."""
    content = read_annotation_json(path)
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(f'{path}: expected the coco form, {{"annotations": [...]}}, found {str(content)[:60]!r}')
    return rows


def check_rows(
    path: str | Path,
    rows: Iterable[tuple[str, Any]],
    check: Callable[[Row], Iterable[str]],
    id_of: Callable[[Row], str],
) -> list[Row]:
    """The rows, if every one passes.

    Args:
        path: of the file, for messages.
        rows: where each stands ("line 3"), and itself.
        check: problems of one row that is a dict, each naming the field.
        id_of: the row's id; ids must be unique.

    Raises:
        AnnotationError: listing every problem, or saying that the file is empty.
    """
    problems, good, seen = [], [], {}
    for where, row in rows:
        found = list(check(row)) if isinstance(row, dict) else [f"expected an object, found {str(row)[:60]!r}"]
        if not found:
            first = seen.setdefault(id_of(row), where)
            found = [] if first == where else [f"id {id_of(row)!r} stands in {first} too; ids must be unique"]
        problems += [f"{where}: {problem}" for problem in found]
        good.append(row)
    if problems:
        rest = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        listed = "\n  ".join(problems[:MAX_LISTED])
        raise AnnotationError(f"{path}: {len(problems)} problems, correct or remove these:\n  {listed}{rest}")
    if not good:
        raise AnnotationError(f"{path}: holds no annotations; nothing can be evaluated")
    return good


def text_problems(row: Row, key: str) -> Iterable[str]:
    """Whether a field is a text that says something."""
    if not isinstance(row.get(key), str) or not row[key].strip():
        yield f"{key} is {row.get(key)!r}: it must be a text"


def video_problems(row: Row, key: str) -> Iterable[str]:
    """Whether a field names a file inside the folder of videos."""
    yield from text_problems(row, key)
    if isinstance(row.get(key), str):
        path = PurePosixPath(row[key])
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in row[key]:
            yield f"{key} {row[key]!r} points outside of the folder of videos; write a relative path without .."


def id_problems(row: Row, key: str) -> Iterable[str]:
    """Whether a field is a whole number or a text."""
    if isinstance(row.get(key), bool) or not isinstance(row.get(key), int | str):
        yield f"{key} is {row.get(key)!r}: it must be a number or a text of its own"


def interval_problems(value: Any, key: str) -> Iterable[str]:
    """Whether a value is [start, end] in seconds, both finite and 0 or more."""
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))
    if not numbers or min(value) < 0:
        yield f"{key} is {value!r}: it must be [start, end] in seconds, both 0 or more"


def is_number(value: Any) -> bool:
    """A finite number that is no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
