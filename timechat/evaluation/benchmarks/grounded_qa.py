"""Questions with options whose answer stands somewhere in the video: which option, and which part of the video?

The model is asked twice, once for the option (prompts/multiple_choice.txt) and once for the part
(prompts/grounded_qa_moment.txt), as in the demonstration of ReXTime; the ids are KEY/option and KEY/moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from timechat.errors import ParseFailure
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.contract import Example
from timechat.evaluation.benchmarks.grounding import TemporalGrounding
from timechat.evaluation.benchmarks.question_answering import letter_of
from timechat.evaluation.benchmarks.structured import Choice, Structured, Windows
from timechat.evaluation.benchmarks.timeit import is_timeit
from timechat.evaluation.controls import Controls
from timechat.evaluation.metrics.grounded_qa import overlaps, score_grounded_answers
from timechat.evaluation.metrics.multiple_choice import LETTERS, parse_choice
from timechat.evaluation.parsing import parse_grounding
from timechat.evaluation.prompting import PROMPTS, fill_prompt, load_prompt

OPTION, MOMENT = "option", "moment"
_PROMPTS = {OPTION: "multiple_choice.txt", MOMENT: "grounded_qa_moment.txt"}


class GroundedQuestionAnswering(TemporalGrounding):
    """Two rows for each question, see `two_rows`; subclasses only read their formats and name the scores.

    Attributes:
        score_names: name in `score_grounded_answers` -> name in the benchmark's papers, main scores first.
    """

    task = "grounded video question answering"
    prompt_file = "grounded_qa.txt"
    max_new_tokens = 64
    structured: ClassVar[tuple[type[Structured], ...]] = (Windows, Choice)
    score_names: ClassVar[Mapping[str, str]]

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The field videos."""
        return row["videos"]

    def query_of(self, row: Row) -> str:
        """The question in the prompt of what is asked for."""
        question = row["question"]
        if row["asks"] == OPTION:
            options = [f"({letter}) {option}" for letter, option in zip(LETTERS, row["options"], strict=False)]
            question = "\n".join([f"Question: {question}", "Options:", *options])
        return fill_prompt(load_prompt(PROMPTS / _PROMPTS[row["asks"]]), question)

    def question_of(self, row: Row) -> str:
        """The question without its options."""
        return row["question"]

    def names_times(self, row: Row) -> bool:
        """An option may have the words of the prompt."""
        return row["asks"] == MOMENT

    def parse(self, answer: str, row: Row) -> Any:
        """Index of the option, or the intervals, of which the first one counts."""
        return parse_choice(answer, row["options"]) if row["asks"] == OPTION else parse_grounding(answer)

    def take(self, given: Any, row: Row) -> Any:
        """The option with that number, or the intervals."""
        if isinstance(given, Choice) != (row["asks"] == OPTION):
            raise ParseFailure(repr(given), f"holds {given.words}, but the {row['asks']} was asked for")
        if isinstance(given, Windows):
            return list(given.intervals)
        if not 0 <= given.index < len(row["options"]):
            raise ParseFailure(str(given.index), f"no option has the number {given.index}")
        return given.index

    def read_train(self, path: str | Path) -> list[Row]:
        """The moments of the benchmark's own annotations, or TimeIT's form for training."""
        if is_timeit(path):
            return super().read_train(path)
        return [row for row in self.read(path) if row["asks"] == MOMENT]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Scores under the papers' names; counts alone where nothing is public."""
        right, shown = {}, {}
        for row in (row for row in rows if row["moments"] is not None):
            said = parsed.get(row["id"])
            if row["asks"] == OPTION:  # options of the same words are the same
                right[row["key"]] = said is not None and row["options"][said] == row["options"][row["answer"]]
            else:
                shown[row["key"]] = overlaps(said[0], row["moments"]) if said else (0.0, 0.0)
        found = score_grounded_answers(right, shown)
        counts: dict[str, float] = {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}
        return {self.score_names[name]: value for name, value in found.items() if name in self.score_names} | counts, {
            row["id"]: prediction(row, parsed.get(row["id"])) for row in rows if row["id"] in answered
        }

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """Of both answers to a question together, under the id of the first."""
        shares: dict[str, dict[str, float]] = {name: {} for name in self.main_scores}
        for pair in pairs_of(rows):
            alone, _ = self.evaluate(pair, parsed, answered)
            for name in self.main_scores:
                if name in alone:
                    shares[name][pair[0]["id"]] = alone[name]
        return shares

    def example(self, row: Row, parsed: Any | None) -> Example:
        """Quality is the IoU, or 1 for the right option."""
        video, moments = row["videos"][0], row["moments"] or []
        if row["asks"] == OPTION:
            return Example(row["id"], video, row["question"], float(parsed is not None and parsed == row["answer"]))
        predicted = (parsed or [])[:1]
        quality = overlaps(predicted[0], moments)[0] if predicted and moments else 0.0
        return Example(row["id"], video, row["question"], quality, moments, predicted)

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """As of temporal grounding, of the moments: to be compared with the scores that no option is needed for."""
        moments = [row for row in rows if row["asks"] == MOMENT and row["moments"] is not None]
        if not moments:
            return Controls()
        ids = {row["id"] for row in moments}
        said = {key: value for key, value in parsed.items() if key in ids}
        return super().controls(moments, said, answered & ids, train, durations)


def two_rows(
    key: str,
    videos: Sequence[str],
    question: str,
    options: Sequence[str],
    answer: int | None,
    moments: Sequence[tuple[float, float]] | None,
    duration: float | None,
) -> Iterable[Row]:
    """The rows of a question.

    Args:
        key: of the question; ids are made of it.
        videos: the names that its video may have, the usual one first.
        options: their texts.
        answer: index of the right one; None where it is hidden.
        moments: where the answer is shown, in seconds; None where that is hidden.
        duration: of the video, in seconds, for the controls.
    """
    common: Row = {"key": key, "videos": tuple(videos), "image_id": videos[0], "question": question.strip()}
    common |= {"options": list(options), "answer": answer, "moments": None, "duration": duration}
    if moments is not None:
        ordered = [(min(moment), max(moment)) for moment in moments]
        # What controls take for the one true moment is the longest.
        common |= {"moments": ordered, "timestamp": max(ordered, key=lambda moment: moment[1] - moment[0])}
    for asks in (OPTION, MOMENT):
        yield {**common, "id": f"{key}/{asks}", "asks": asks}


def pairs_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each question."""
    pairs: dict[str, list[Row]] = {}
    for row in rows:
        pairs.setdefault(row["key"], []).append(row)
    return list(pairs.values())


def prediction(row: Row, parsed: Any) -> dict[str, Any]:
    """One answer as the file of predictions shows it."""
    if row["asks"] == OPTION:
        return {"video": row["videos"][0], "answer": letter_of(parsed), "right": letter_of(row["answer"])}
    return {"video": row["videos"][0], "moment": list(parsed[0]) if parsed else None, "right": row["moments"]}
