"""The benchmark itself: questions, answers and scores of all twelve tasks together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from timechat.errors import AnnotationError, ParseFailure
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.etbench.answers import (
    GroundedOption,
    Option,
    parse_grounded_option,
    parse_moment,
    parse_option,
)
from timechat.evaluation.benchmarks.etbench.controls import task_controls
from timechat.evaluation.benchmarks.etbench.examples import example_of
from timechat.evaluation.benchmarks.etbench.rows import (
    CHOICE,
    EVENTS,
    GROUNDED_CHOICE,
    INTERVALS,
    MOMENT,
    TASKS,
    read_samples,
)
from timechat.evaluation.benchmarks.etbench.totals import GROUPS, HEADLINES, by_source, task_scores, weighted_shares
from timechat.evaluation.benchmarks.structured import Choice, Events, Structured, Windows
from timechat.evaluation.controls import Controls
from timechat.evaluation.echoes import without_echo
from timechat.evaluation.metrics.captions import Meteor
from timechat.evaluation.metrics.similarity import MINILM, SentenceSimilarity
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding
from timechat.registry import registry
from timechat.schema import Section, key


@dataclass
class ETBenchConfig(Section):
    """What `--benchmark-options` may set."""

    subset: str | None = key(
        None, "evaluation/subset.json of the download: ask only these 470 samples, as commercial models were", file=True
    )
    sentence_model: str = key(MINILM, "hub id or folder of the encoder that compares sentences")


@registry.register_benchmark("etbench", config=ETBenchConfig)
class ETBench(Benchmark):
    """Twelve tasks; see the head of the package for formats and rules.

    Args:
        subset: only the samples that this file names.
        sentence_model: a sentence-transformers model, for the scores "Sim" and for answers that name no option.
    """

    task = "event-level video understanding"
    prompt_file = "etbench.txt"
    main_scores = (*HEADLINES, *GROUPS)
    structured: ClassVar[tuple[type[Structured], ...]] = (Windows, Events, Choice)

    def __init__(self, subset: str | None = None, sentence_model: str = MINILM):
        self._subset = subset
        self._similarity = SentenceSimilarity(sentence_model)
        self._meteor: Meteor | None = None

    def read(self, anno_path: str | Path) -> list[Row]:
        """The samples of a file, or of the files of a folder."""
        return read_samples(anno_path, self._subset)

    def read_train(self, path: str | Path) -> list[Row]:
        """There is no train split."""
        raise AnnotationError(f"--train-anno {path}: E.T. Bench has no train split; leave it out")

    def row_id(self, row: Row) -> str:
        """Task, source and number of the sample."""
        return row["id"]

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The field video."""
        return (row["video"],)

    def query_of(self, row: Row) -> str:
        """The field q: a whole prompt, which says how to answer."""
        return row["query"]

    def parse(self, answer: str, row: Row) -> Any:
        """An Option, a moment, intervals, events or a GroundedOption, as the task asks.

        Examples of times that q itself shows are no answer. (Options are: q lists them as well.)
        """
        form = TASKS[row["task"]].answer
        if form == CHOICE:
            return parse_option(answer, row["options"], self._similarity)
        said = without_echo(answer, row["query"])
        if form == GROUNDED_CHOICE:
            return parse_grounded_option(answer, said, row["options"], self._similarity)
        return {MOMENT: parse_moment, INTERVALS: parse_grounding, EVENTS: parse_dense_captions}[form](said)

    def take(self, given: Windows | Events | Choice, row: Row) -> Any:
        """As `parse`; a form that the row's task does not ask for says nothing."""
        form = TASKS[row["task"]].answer
        if isinstance(given, Choice) and form in (CHOICE, GROUNDED_CHOICE):
            if not 0 <= given.index < len(row["options"]):
                raise ParseFailure(str(given.index), f"no option has the number {given.index}")
            return Option(given.index) if form == CHOICE else GroundedOption(Option(given.index))
        if isinstance(given, Windows) and form == INTERVALS:
            return list(given.intervals)
        if isinstance(given, Windows) and form == MOMENT:
            return given.intervals[0][0]
        if isinstance(given, Events) and form == EVENTS:
            return [{"timestamp": [start, end], "caption": caption} for start, end, caption in given.events]
        raise ParseFailure(repr(given), f"holds {given.words}, and {TASKS[row['task']].name} asks for something else")

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """One METEOR process, which starts when there are captions."""
        with Meteor() as self._meteor:
            try:
                yield
            finally:
                self._meteor = None

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Scores of tasks and groups in percent; the predictions hold the scores by source, in fractions."""
        with Meteor() if self._meteor is None else _kept(self._meteor) as meteor:
            sources = by_source(rows, parsed, meteor, self._similarity)
        counts = {
            "found": float(len(answered)),
            "parsed": float(sum(row["id"] in parsed for row in rows)),
            "expected": float(len(rows)),
        }
        said = {row["id"]: _plain(parsed[row["id"]]) for row in rows if row["id"] in parsed}
        return task_scores(sources) | counts, {"scores": sources, "answers": said}

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """What answers that ignore video or question would score, task by task; captions have F1 only."""
        lengths = {row["id"]: self.duration_of(row, durations) for row in rows}
        return task_controls(rows, parsed, answered, lengths)

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """Of the tasks whose score is a mean over samples: all but DVC and SLC."""
        return weighted_shares(rows, parsed)

    def example(self, row: Row, parsed: Any | None) -> Example:
        """Quality is the row's own score."""
        return example_of(row, parsed)

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """All samples with their answers, as E.T. Bench's own script reads them; a missing answer is empty."""
        told = [{**row["raw"], "a": answers.get(row["id"], "")} for row in rows]
        return {"etbench_answers.json": json.dumps(told, indent=2, ensure_ascii=False) + "\n"}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What is left out of the scores, and how many options are only the nearest ones."""
        tasks = {row["task"] for row in rows}
        notes = []
        if any(TASKS[task].answer == EVENTS for task in tasks) and self._similarity.why_missing:
            names = " and ".join(f"{TASKS[t].name} Sim" for t in TASKS if t in tasks and TASKS[t].answer == EVENTS)
            notes.append(f"Left out: {names}; {self._similarity.why_missing}.")
        near = sum(_is_nearest(said) for said in parsed.values())
        if near:
            notes.append(f"{near} answers name no option; the one that is most like the answer counts, as published.")
        summaries = [row["id"] for row in rows if row["task"] == "evs"]
        failed = sum(key not in parsed for key in summaries)
        if failed:
            notes.append(
                f"EVS F1 leaves out {failed} of {len(summaries)} samples without an answer that names intervals, as "
                "published; EVS F1/expected counts them as 0."
            )
        return notes


@contextmanager
def _kept(meteor: Meteor) -> Iterator[Meteor]:
    """A process that somebody else ends."""
    yield meteor


def _plain(said: Any) -> Any:
    """A parsed answer as JSON holds it."""
    return asdict(said) if isinstance(said, Option | GroundedOption) else said


def _is_nearest(said: Any) -> bool:
    option = said.option if isinstance(said, GroundedOption) else said
    return isinstance(option, Option) and option.nearest
