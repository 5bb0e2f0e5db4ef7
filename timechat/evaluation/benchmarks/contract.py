"""What a benchmark is: annotations -> questions, and answers -> scores. Each subclass is one file with its formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from timechat.errors import ConfigError, ParseFailure, PredictionError
from timechat.evaluation.benchmarks.annotations import Annotations, Row, is_number, with_all_suffixes
from timechat.evaluation.benchmarks.structured import Answer, Structured
from timechat.evaluation.controls import Controls, ControlTable
from timechat.evaluation.echoes import ONLY_ECHO, without_echo
from timechat.evaluation.prompting import PROMPTS, QUERY_MARKS, fill_prompt, has_query_mark

Interval = tuple[float, float]


@dataclass(frozen=True)
class Question:
    """One prompt about one video.

    Attributes:
        id: as in the annotations, as a string.
        video: path relative to the folder of videos.
        query: what is looked for; empty where the whole video is asked about.
        prompt: the text that the model is given.
        start, end: the part of the video that is asked about, in seconds; None for all of it.
        frame_rate: frames per second, where `video` is a folder of images.
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
        true_captions, predicted_captions: what is said of each interval (dense captioning only).
        true_saliency, predicted_saliency: one score per clip (highlight detection only).
        clip_seconds: length of a clip.
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
        controls: what answers that ignore the question would score, in percent.
        files: more files for the output folder (a submission, a judge's input): name -> text.
        notes: what a reader of the scores needs to know, one sentence each.
        shares: main score -> id of a question -> what it adds; the score is the mean of these, see `Benchmark.shares`.
    """

    scores: dict[str, float]
    predictions: Any
    failures: list[Failure]
    unanswered: list[str]
    examples: list[Example]
    controls: Controls = field(default_factory=Controls)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)


class Benchmark(ABC):
    """A benchmark; `load_annotations`, `questions` and `score` are what callers use.

    A subclass with options (`--benchmark-options`) is registered with a schema that has them as keys, and takes them as
    keyword arguments.

    Attributes:
        name: the value of `--benchmark`; set by `registry.register_benchmark`.
        task: its name in words, such as temporal grounding.
        prompt_file: default prompt, under `prompts/`, or an absolute path.
        main_scores: those that papers report.
        takes_query: whether a prompt has a place for the query.
        percent: factor that turns a score into percent; counts are left as they are.
        answers_are_times: whether answers hold times, so that an example of the prompt, repeated by the model, could be
            mistaken for one.
        uses_durations: whether controls need durations that the annotations do not have.
        model_defaults: keys of `model` that the published protocol sets; what the user says wins.
        max_new_tokens: how long an answer may get, unless the user says otherwise.
        structured: the forms of predictions that are scored besides text, see `structured.py` and `take`.
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
    structured: ClassVar[tuple[type[Structured], ...]] = ()

    @property
    def prompt_path(self) -> Path:
        """The file of the default prompt."""
        return PROMPTS / self.prompt_file

    @abstractmethod
    def read(self, anno_path: str | Path) -> list[Row]:
        """The checked annotations, one row per question. Raises AnnotationError."""

    @abstractmethod
    def row_id(self, row: Row) -> str:
        """The id of a row's question."""

    @abstractmethod
    def videos_of(self, row: Row) -> tuple[str, ...]:
        """File names that the row's video may have, the usual one first; `files_of` adds other containers."""

    @abstractmethod
    def query_of(self, row: Row) -> str:
        """What the row looks for."""

    @abstractmethod
    def parse(self, answer: str, row: Row) -> Any:
        """What an answer to the row's question says. Raises ParseFailure."""

    def take(self, given: Any, row: Row) -> Any:
        """What a prediction in one of the forms `structured` says, as `parse` would return it.

        Raises:
            ParseFailure: it says nothing about the row.
        """
        raise NotImplementedError(f"{type(self).__name__} lists {type(given).__name__} in `structured`: define `take`")

    def names_times(self, row: Row) -> bool:
        """Whether an answer to the row's question holds times, as `answers_are_times` says of all rows."""
        return self.answers_are_times

    def question_of(self, row: Row) -> str:
        """The row's question in its own words: predictions of others that have no id are matched by it."""
        return self.query_of(row)

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
        """What answers that ignore the question would score, see `controls.py`; nothing by default.

        Args:
            rows, parsed, answered: as for `evaluate`.
            train: rows of the train split.
            durations: of videos, in seconds; some or all may be missing.
        """
        return Controls()

    def control_table(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str], names: Sequence[str] | None = None
    ) -> ControlTable:
        """A table for `controls` to fill: answers are scored as the model's are, in percent.

        Args:
            rows, parsed, answered: as for `evaluate`.
            names: the scores to keep; None is the main ones.
        """

        def score(*given: Any) -> dict[str, float]:
            return self.in_percent(self.evaluate(*given)[0])

        return ControlTable(score, rows, parsed, answered, self.row_id, names or self.main_scores)

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """What each question adds to the main scores, for confidence intervals and paired tests.

        Score -> id -> value, in the unit of `evaluate`; the score is the mean of these values, and a question that it
        does not count is not there. By default every row is evaluated alone. A score that is no such mean may be given
        or not: whoever uses the values compares their mean with the score first.
        """
        shares: dict[str, dict[str, float]] = {name: {} for name in self.main_scores}
        for row in rows:
            key = self.row_id(row)
            alone, _ = self.evaluate([row], {key: parsed[key]} if key in parsed else {}, {key} & answered)
            for name in self.main_scores:
                if name in alone:
                    shares[name][key] = float(alone[name])
        return shares

    def scoring(self) -> AbstractContextManager[None]:
        """Held open while scores and controls are computed; for helpers that are slow to start."""
        return nullcontext()

    def files_of(self, row: Row) -> tuple[str, ...]:
        """All file names that the row's video may have: whatever the annotations say, videos come in any container."""
        return with_all_suffixes(self.videos_of(row))

    def duration_of(self, row: Row, durations: Mapping[str, float]) -> float | None:
        """Seconds of the row's video, from the row or as measured; None where neither is known."""
        if is_number(row.get("duration")) and row["duration"] > 0:
            return float(row["duration"])
        return next((durations[name] for name in self.files_of(row) if name in durations), None)

    def clip_of(self, row: Row, video: str) -> tuple[float | None, float | None, float | None]:
        """The part of `video` that the row asks about: `start`, `end` and `frame_rate` of its question."""
        return None, None, None

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """More files for the output folder, such as a submission: name -> text; none by default."""
        return {}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What a reader of the scores needs to know, one sentence each; nothing by default."""
        return []

    def load_annotations(
        self, anno_path: str | Path, *, limit: int | None = None, ids: Collection[str] | None = None
    ) -> Annotations:
        """Read an annotation file, for `questions` and `score`.

        Args:
            anno_path: the benchmark's annotation file, or its folder where the download is one.
            limit: keep only the first N rows.
            ids: keep only the rows of these questions, in the order of the file; `limit` then counts these.

        Raises:
            AnnotationError: naming the file, the item, the field and the fix.
            ConfigError: an unknown id.
        """
        rows = self.read(anno_path)
        if ids is None:
            return Annotations(anno_path, rows[:limit])
        wanted = set(ids)
        unknown = sorted(wanted - set(map(self.row_id, rows)))
        if unknown or not wanted:
            told = f"{len(unknown)} of the ids are not there ({', '.join(unknown[:5])})" if unknown else "no ids"
            raise ConfigError(f"{anno_path}: {told}; correct --ids")
        return Annotations(anno_path, [row for row in rows if self.row_id(row) in wanted][:limit])

    def questions(
        self, annotations: Annotations, prompt: str, *, videos_dir: str | Path | None = None
    ) -> list[Question]:
        """The questions of the annotations, in their order.

        Args:
            annotations: as `load_annotations` gives them.
            prompt: with `{query}` in it, where the benchmark has queries.
            videos_dir: where a video file may have several names, the one that is found there is taken.

        Raises:
            ConfigError: a prompt without a place for the query, or with one that nothing fills.
        """
        self._check_prompt(prompt)
        questions = []
        for row in annotations.rows:
            query = self.query_of(row)
            names = self.files_of(row)
            there = (name for name in names if videos_dir is not None and (Path(videos_dir) / name).exists())
            video = next(there, names[0])
            text = fill_prompt(prompt, query)
            questions.append(Question(self.row_id(row), video, query, text, *self.clip_of(row, video)))
        return questions

    def follow_ups(
        self,
        annotations: Annotations,
        prompt: str,
        answers: Mapping[str, str],
        *,
        videos_dir: str | Path | None = None,
    ) -> list[Question]:
        """Questions that depend on the answers to the first ones; none by default.

        Args:
            annotations, prompt, videos_dir: as for `questions`.
            answers: id -> text, of `questions`.
        """
        return []

    def score(
        self,
        answers: Mapping[str, Answer],
        annotations: Annotations,
        *,
        train: list[Row] | None = None,
        durations: Mapping[str, float] | None = None,
        prompt: str | Mapping[str, str] | None = None,
    ) -> Result:
        """Parse and score answers; those that are missing or cannot be parsed count as misses.

        Args:
            answers: id -> text, or one of the forms `structured`.
            annotations: those that the questions were made from.
            train: rows of the train split, as `read_train` gives them; the best constant answer is fitted to them.
            durations: video file -> seconds, for the controls where the annotations do not give them.
            prompt: as for `questions`, or id -> the text that a question was asked with; an answer that only repeats an
                example in it does not count as an answer.

        Raises:
            PredictionError: an answer to a question that was not asked, or in a form that is not scored.
        """
        rows = annotations.rows
        parsed, failures = self._parse_all(answers, annotations, prompt)
        answered = set(answers)
        with self.scoring():
            scores, predictions = self.evaluate(rows, parsed, answered)
            controls = self.controls(rows, parsed, answered, train, durations or {})
            shares = self.shares(rows, parsed, answered)
        return Result(
            scores=scores,
            predictions=predictions,
            failures=failures,
            unanswered=[key for key in map(self.row_id, rows) if key not in answers],
            examples=[self.example(row, parsed.get(self.row_id(row))) for row in rows],
            controls=controls,
            files=self.extra_files(rows, parsed, {key: said for key, said in answers.items() if isinstance(said, str)}),
            notes=self.notes(rows, parsed),
            shares={name: dict(values) for name, values in shares.items()},
        )

    def _parse_all(
        self, answers: Mapping[str, Answer], annotations: Annotations, prompt: str | Mapping[str, str] | None
    ) -> tuple[dict[str, Any], list[Failure]]:
        rows = {self.row_id(row): row for row in annotations.rows}
        unknown = [key for key in answers if key not in rows]
        if unknown:
            raise PredictionError(
                f"{annotations.path}: {len(unknown)} answers belong to no question there ({', '.join(unknown[:5])}); "
                "score them against the annotations that were asked about"
            )
        parsed, failures = {}, []
        for key, answer in answers.items():
            if isinstance(prompt, str):
                asked: str | None = fill_prompt(prompt, self.query_of(rows[key]))
            else:
                asked = (prompt or {}).get(key)
            try:
                parsed[key] = self._understand(answer, rows[key], asked)
            except ParseFailure as failure:
                said = answer if isinstance(answer, str) else repr(answer)
                failures.append(Failure(key, self.videos_of(rows[key])[0], failure.reason, said))
                if failure.reading is not None:
                    parsed[key] = failure.reading
        return parsed, failures

    def _understand(self, answer: Answer, row: Row, asked: str | None) -> Any:
        """What an answer says; `asked` is the prompt, where it is known. Raises ParseFailure."""
        if isinstance(answer, str):
            echoes = asked is not None and self.names_times(row)
            said = without_echo(answer, asked or "") if echoes else answer
            try:
                return self.parse(said, row)
            except ParseFailure as failure:
                if said == answer:
                    raise
                raise ParseFailure(answer, f"{failure.reason}, {ONLY_ECHO}") from failure
        if not isinstance(answer, self.structured):
            taken = ", ".join(["text", *(form.words for form in self.structured)])
            raise PredictionError(
                f"answer {self.row_id(row)} holds {answer.words}; {self.name} scores {taken}: give one of these"
            )
        return self.take(answer, row)

    def in_percent(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Scores as papers print them; counts stay counts."""
        counts = ("found", "parsed", "expected", "predictions_per_video")
        return {key: value * (1.0 if key in counts else self.percent) for key, value in scores.items()}

    def _check_prompt(self, prompt: str) -> None:
        marked = has_query_mark(prompt)
        if self.takes_query and not marked:
            raise ConfigError(
                f"the prompt for {self.name} has no {QUERY_MARKS[0]} in it: nothing says what to look for"
            )
        if marked and not self.takes_query:
            raise ConfigError(
                f"the prompt for {self.name} holds {QUERY_MARKS[0]}, but {self.task} has no query; remove it"
            )
