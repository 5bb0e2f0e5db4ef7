"""LongVideoBench: questions about a moment that they describe, in videos of up to an hour. Accuracy, also by length.

Reads `lvb_val.json`: `[{"id", "video_path", "question", "candidates": [strings], "correct_choice": index from 0,
"duration_group": 15 | 60 | 600 | 3600, "question_category"}]`; the id is `id`. Rows without `correct_choice` are those
of the test set (`lvb_test_wo_gt.json`): they are not scored, and `longvideobench_submission.json` holds their answers,
`{id: letter}`.

The published protocol puts subtitles between the frames; here only the frames are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    is_number,
    read_annotation_json,
    text_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.question_answering import SubmittedQuestions, options_problems
from timechat.registry import registry


@registry.register_benchmark("longvideobench")
class LongVideoBench(SubmittedQuestions):
    """Up to five options each; see the head of this file for its format."""

    submission_file = "longvideobench_submission.json"

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of the file."""
        content = read_annotation_json(anno_path)
        if not isinstance(content, list):
            raise AnnotationError(f"{anno_path}: expected a list of questions, found {str(content)[:60]!r}")
        rows = ((f"row {number}", row) for number, row in enumerate(content))
        return [_row(raw) for raw in check_rows(anno_path, rows, _problems, lambda row: str(row["id"]))]


def _row(raw: Row) -> Row:
    group = raw["duration_group"]
    return {
        "id": str(raw["id"]),
        "videos": (raw["video_path"],),
        "question": raw["question"].strip(),
        "options": raw["candidates"],
        "answer": raw["correct_choice"] if _is_labelled(raw) else None,
        "categories": (f"up to {group:g} s", raw["question_category"]),
    }


def _is_labelled(raw: Row) -> bool:
    return raw.get("correct_choice") not in (None, -1)


def _problems(row: Row) -> Iterable[str]:
    yield from id_problems(row, "id")
    yield from video_problems(row, "video_path")
    yield from text_problems(row, "question")
    yield from text_problems(row, "question_category")
    group = row.get("duration_group")
    if not is_number(group) or group <= 0:
        yield f"duration_group is {group!r}: it must be a number of seconds, such as 15, 60, 600 or 3600"
    found = list(options_problems(row.get("candidates"), "candidates"))
    yield from found
    choice = row.get("correct_choice")
    if not found and _is_labelled(row) and (type(choice) is not int or not 0 <= choice < len(row["candidates"])):
        yield f"correct_choice is {choice!r}: it must be an index from 0 to {len(row['candidates']) - 1}"
