"""EgoSchema: questions with five options about three minutes of somebody's day. Accuracy on the public subset.

Reads the folder of the download with `questions.json` (`[{"q_uid", "question", "option 0", ..., "option 4"}]`) and
`subset_answers.json` (`{q_uid: 0 to 4}`; 500 of the 5,031 answers are public), or the latter's path to ask only the
subset; and rows, as parquet, a JSON list or JSON lines (`{"video_idx", "question", "option": [five strings], "answer":
"0" to "4", or null}`). The video is Q_UID.mp4 and the id q_uid (video_idx).

All answers are written for submission as well: `egoschema_submission.csv` (q_uid,answer) and `.json` ({q_uid: answer}).
Nothing is guessed there: where an answer is missing or names no option, it is -1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    read_annotation_json,
    text_problems,
    video_file,
    video_problems,
)
from timechat.evaluation.benchmarks.question_answering import QuestionAnswering, options_problems, without_letters
from timechat.evaluation.benchmarks.rows import read_rows
from timechat.registry import registry

QUESTIONS, SUBSET = "questions.json", "subset_answers.json"
OPTIONS = tuple(f"option {number}" for number in range(5))
NO_ANSWER = -1


@registry.register_benchmark("egoschema")
class EgoSchema(QuestionAnswering):
    """Five options each; see the head of this file for its formats."""

    def read(self, anno_path: str | Path) -> list[Row]:
        """All questions, or those of the subset when its file is named."""
        path = Path(anno_path)
        if not path.is_dir() and path.name not in (QUESTIONS, SUBSET):
            return _read_table(path)
        folder = path if path.is_dir() else path.parent
        content = read_annotation_json(folder / QUESTIONS)
        if not isinstance(content, list):
            raise AnnotationError(f"{folder / QUESTIONS}: expected a list of questions, found {str(content)[:60]!r}")
        rows = check_rows(
            folder / QUESTIONS,
            ((f"question {number}", row) for number, row in enumerate(content)),
            _problems,
            lambda row: row["q_uid"],
        )
        answers = _read_answers(folder / SUBSET, {row["q_uid"] for row in rows})
        return [_row(row, answers) for row in rows if path.name != SUBSET or row["q_uid"] in answers]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Accuracy over the questions of the subset; the counts are theirs, too."""
        if all(row["answer"] is None for row in rows):
            raise AnnotationError(
                f"none of the {len(rows)} questions has a public answer; ask some that {SUBSET} holds"
            )
        return super().evaluate(rows, parsed, answered)

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """The submission in both forms."""
        given = {row["id"]: parsed.get(row["id"], NO_ANSWER) for row in rows}
        lines = ["q_uid,answer", *(f"{key},{index}" for key, index in given.items())]
        return {
            "egoschema_submission.csv": "\n".join(lines) + "\n",
            "egoschema_submission.json": json.dumps(given, indent=2) + "\n",
        }

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What is scored, and what is in the submission."""
        public = sum(row["answer"] is not None for row in rows)
        open_ones = sum(row["id"] not in parsed for row in rows)
        return [
            f"Scored on the {public} questions whose answer is public.",
            f"egoschema_submission holds all {len(rows)} questions that were asked; {open_ones} without an answer that "
            f"names an option are {NO_ANSWER} there.",
        ]


def _read_table(path: Path) -> list[Row]:
    """The questions of a file of rows."""
    expected = f"rows of questions (or name the folder that holds {QUESTIONS} and {SUBSET}, or the file {SUBSET})"
    rows = check_rows(path, read_rows(path, expected), _row_problems, lambda row: row["video_idx"])
    given = {row["video_idx"]: int(row["answer"]) for row in rows if row.get("answer") is not None}
    return [_row({**row, "q_uid": row["video_idx"], **_numbered(row["option"])}, given) for row in rows]


def _numbered(options: list[str]) -> dict[str, str]:
    return dict(zip(OPTIONS, without_letters(options), strict=True))


def _row_problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "video_idx")
    yield from text_problems(row, "question")
    yield from options_problems(row.get("option"), "option", len(OPTIONS))
    if row.get("answer") is not None and str(row["answer"]) not in tuple("01234"):
        yield f"answer is {row['answer']!r}: it must be a number from 0 to {len(OPTIONS) - 1}, or null"


def _read_answers(path: Path, known: set[str]) -> dict[str, int]:
    answers = read_annotation_json(path)
    if not isinstance(answers, dict) or not answers:
        raise AnnotationError(f"{path}: expected {{q_uid: 0 to {len(OPTIONS) - 1}}}, found {str(answers)[:60]!r}")
    wrong = [key for key, value in answers.items() if type(value) is not int or not 0 <= value < len(OPTIONS)]
    wrong += sorted(set(answers) - known)
    if wrong:
        raise AnnotationError(
            f"{path}: {len(wrong)} entries, such as {wrong[0]!r}: {answers[wrong[0]]!r}, are not whole numbers "
            f"from 0 to {len(OPTIONS) - 1} or belong to no question of {QUESTIONS}; download both again"
        )
    return answers


def _row(raw: Row, answers: Mapping[str, int]) -> Row:
    return {
        "id": raw["q_uid"],
        "videos": (video_file(raw["q_uid"]),),
        "question": raw["question"].strip(),
        "options": [raw[key].strip() for key in OPTIONS],
        "answer": answers.get(raw["q_uid"]),
        "categories": (),
    }


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "q_uid")
    for key in ("question", *OPTIONS):
        yield from text_problems(row, key)
