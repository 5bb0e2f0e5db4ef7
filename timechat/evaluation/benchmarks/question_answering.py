"""What benchmarks of multiple-choice questions about videos share; each subclass only reads its own formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from timechat.errors import ParseFailure
from timechat.evaluation.benchmarks.annotations import Row, text_problems
from timechat.evaluation.benchmarks.contract import Benchmark, Example
from timechat.evaluation.benchmarks.structured import Choice, Structured
from timechat.evaluation.metrics.multiple_choice import LETTERS, parse_choice, score_choices

_LETTER = re.compile(r"\(?([A-Z])[.):]\s*")


class QuestionAnswering(Benchmark):
    """Multiple-choice questions, scored by accuracy.

    `read` of a subclass gives rows with the keys `id`; `videos`, the file names that the video may have; `question`;
    `options`, their texts; `answer`, the index of the right one, None where it is not public; `categories`, the names
    under which the question is scored too.
    """

    task = "video question answering"
    prompt_file = "multiple_choice.txt"
    main_scores: ClassVar[tuple[str, ...]] = ("accuracy",)
    model_defaults: ClassVar[Mapping[str, Any]] = {"lora_alpha": 20}  # as published results of these were made
    max_new_tokens = 32
    structured: ClassVar[tuple[type[Structured], ...]] = (Choice,)

    def row_id(self, row: Row) -> str:
        """The field id."""
        return row_id(row)

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The field videos."""
        return row["videos"]

    def query_of(self, row: Row) -> str:
        """The question with its lettered options."""
        options = [f"({letter}) {option}" for letter, option in zip(LETTERS, row["options"], strict=False)]
        return "\n".join([f"Question: {row['question']}", "Options:", *options])

    def parse(self, answer: str, row: Row) -> int:
        """Index of the option that the answer names."""
        return parse_choice(answer, row["options"])

    def take(self, given: Choice, row: Row) -> int:
        """The option with that number."""
        if not 0 <= given.index < len(row["options"]):
            raise ParseFailure(str(given.index), f"no option has the number {given.index}")
        return given.index

    def question_of(self, row: Row) -> str:
        """The question without its options."""
        return row["question"]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Accuracy over the questions whose answer is public; the predictions hold all of them."""
        known = {row["id"]: row for row in rows if row["answer"] is not None}
        scores = score_choices(
            {key: parsed.get(key) for key in known if key in answered},
            {key: row["answer"] for key, row in known.items()},
            {key: row["categories"] for key, row in known.items()},
        )
        return scores, {row["id"]: self.prediction(row, parsed.get(row["id"])) for row in rows if row["id"] in answered}

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """Of the questions whose answer is public."""
        return super().shares([row for row in rows if row["answer"] is not None], parsed, answered)

    def prediction(self, row: Row, parsed: int | None) -> dict[str, Any]:
        """One question as the file of predictions shows it: letters, null for what is not known."""
        return {"video": row["videos"][0], "answer": letter_of(parsed), "right": letter_of(row["answer"])}

    def example(self, row: Row, parsed: int | None) -> Example:
        """Quality 1 for the right option."""
        right = parsed is not None and parsed == row["answer"]
        return Example(row["id"], row["videos"][0], row["question"], float(right))

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What guessing would score."""
        chances = [1 / len(row["options"]) for row in rows if row["answer"] is not None]
        return [f"Guessing would score {100 * sum(chances) / len(chances):.1f}."] if chances else []


class SubmittedQuestions(QuestionAnswering):
    """Questions of which some or all have an answer that is not public: these go into a submission, not into scores."""

    submission_file: ClassVar[str]

    def submission(self, letters: Mapping[str, str], rows: list[Row]) -> Any:
        """What a server takes, as plain JSON.

        Args:
            letters: id -> letter of the option that was named, "" where none was; nothing is guessed.
            rows: whose answers are not public.
        """
        return dict(letters)

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """As for all of them; counts alone where no answer is public."""
        if any(row["answer"] is not None for row in rows):
            return super().evaluate(rows, parsed, answered)
        counts: dict[str, float] = {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}
        return counts, {row["id"]: self.prediction(row, parsed.get(row["id"])) for row in rows if row["id"] in answered}

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """The submission."""
        hidden = [row for row in rows if row["answer"] is None]
        letters = {row["id"]: letter_of(parsed.get(row["id"])) or "" for row in hidden}
        return {self.submission_file: json.dumps(self.submission(letters, hidden), indent=2) + "\n"} if hidden else {}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What is not scored, and what is in the submission."""
        hidden = [row["id"] for row in rows if row["answer"] is None]
        told = super().notes(rows, parsed)
        if hidden:
            unnamed = sum(key not in parsed for key in hidden)
            told.append(
                f"The answers to {len(hidden)} questions are not public and are not scored: they are in "
                f"{self.submission_file}; {unnamed} without an answer that names an option are empty there."
            )
        return told


def row_id(row: Row) -> str:
    """The field id."""
    return row["id"]


def letter_of(index: int | None) -> str | None:
    """A for 0; None for None."""
    return None if index is None else LETTERS[index]


def options_problems(value: Any, key: str, count: int | None = None) -> Iterable[str]:
    """Problems of a value that must be a list of strings, `count` of them or from 2 to as many as there are letters."""
    fits = isinstance(value, list) and (len(value) == count if count else 2 <= len(value) <= len(LETTERS))
    if not fits or not all(isinstance(option, str) and option.strip() for option in value):
        yield f"{key} is {value!r}: it must be a list of {count or '2 or more'} strings"


def choice_problems(row: Row, question: str, options: str, answer: str) -> Iterable[str]:
    """Problems of a row that must have a question, options, and an answer that is the text of one of them."""
    yield from text_problems(row, question)
    found = list(options_problems(row.get(options), options))
    yield from found
    if not found and index_of(row.get(answer), row[options]) is None:
        yield f"{answer} is {row.get(answer)!r}: it must be the text of one of the {options}"


def index_of(text: Any, options: Sequence[str]) -> int | None:
    """Which option has this text, white space around it aside; None if none has."""
    plain = [option.strip() for option in options]
    return plain.index(text.strip()) if isinstance(text, str) and text.strip() in plain else None


def without_letters(options: Sequence[str]) -> list[str]:
    """The options without the letters in front of them ("A. text"), where every one has its own."""
    marks = [_LETTER.match(option) for option in options]
    if all(mark and mark[1] == letter for mark, letter in zip(marks, LETTERS, strict=False)):
        return [option[mark.end() :].strip() for option, mark in zip(options, marks, strict=True) if mark]
    return [option.strip() for option in options]
