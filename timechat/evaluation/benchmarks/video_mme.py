"""Video-MME: 900 videos of three lengths, three questions with four options each. Accuracy, overall and by length.

Reads rows with the columns of the download, as a JSON list or one per line (`.jsonl`): `{"videoID", "question",
"options": ["A. text", ...], "answer": "A", "duration": "short|medium|long"}`, scored by `domain` and `task_type` too
where they are given; and the grouped form `{video: [{"videoID", "question", "option", "answer", "duration"}]}`. The
video is VIDEOID.mp4 (or .mkv, .webm); the id is `question_id`, else VIDEOID/0, VIDEOID/1, ....

With subtitles: `timechat evaluate --asr` with the folder of their .srt files.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    read_annotation_json,
    read_annotation_text,
    text_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.question_answering import QuestionAnswering, index_of, options_problems, row_id
from timechat.evaluation.metrics.multiple_choice import LETTERS
from timechat.registry import registry

LENGTHS = ("short", "medium", "long")
_SUFFIXES = (".mp4", ".mkv", ".webm")
_LETTER = re.compile(r"([A-D])[.):]\s*")
_EXTRA = {"domain": "domain", "task": "task_type"}  # name of the category -> column


@registry.register_benchmark("video_mme")
class VideoMME(QuestionAnswering):
    """Short, medium and long videos; see the head of this file for its formats."""

    main_scores = ("accuracy", *LENGTHS)

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows, whatever the file's form."""
        seen: dict[Any, int] = defaultdict(int)
        rows = []
        for where, raw in _raw_rows(anno_path):
            if isinstance(raw, dict):
                video = raw.get("videoID")
                raw = {**raw, "options": raw.get("options", raw.get("option")), "id": _id(raw, seen[str(video)])}
                seen[str(video)] += 1
            rows.append((where, raw))
        return [_row(raw) for raw in check_rows(anno_path, rows, _problems, row_id)]


def _raw_rows(anno_path: str | Path) -> list[tuple[str, Any]]:
    """Each question and where it stands."""
    if Path(anno_path).suffix == ".jsonl":
        lines = enumerate(read_annotation_text(anno_path).split("\n"), 1)
        return [(f"line {number}", _json_or_text(line)) for number, line in lines if line.strip()]
    content = read_annotation_json(anno_path)
    if isinstance(content, dict) and all(isinstance(rows, list) for rows in content.values()):
        return [(f"{vid}, question {n}", row) for vid, rows in content.items() for n, row in enumerate(rows)]
    if not isinstance(content, list):
        raise AnnotationError(f"{anno_path}: expected a list of questions, found {str(content)[:60]!r}")
    return [(f"row {number}", row) for number, row in enumerate(content)]


def _json_or_text(line: str) -> Any:
    """A line as JSON, or the line itself if it is not JSON, to be refused by the check."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def _id(raw: Row, number: int) -> str:
    return str(raw.get("question_id") or f"{raw.get('videoID')}/{number}")


def _row(raw: Row) -> Row:
    options = _texts(raw["options"])
    extra = tuple(f"{name}: {raw[key]}" for name, key in _EXTRA.items() if raw.get(key))
    return {
        "id": raw["id"],
        "videos": tuple(raw["videoID"] + suffix for suffix in _SUFFIXES),
        "question": raw["question"].strip(),
        "options": options,
        "answer": _answer_index(raw["answer"], options),
        "categories": (raw["duration"], *extra),
    }


def _texts(options: list[str]) -> list[str]:
    """The options without their letters, where every one has its own."""
    marks = [_LETTER.match(option) for option in options]
    if all(mark and mark[1] == letter for mark, letter in zip(marks, LETTERS, strict=False)):
        return [option[mark.end() :].strip() for option, mark in zip(options, marks, strict=True) if mark]
    return [option.strip() for option in options]


def _answer_index(answer: str, options: list[str]) -> int | None:
    """Index of the right option, which is given by its letter, its text, or both ("A", "A. text")."""
    by_text = index_of(answer, options)
    if by_text is not None:
        return by_text
    match = re.fullmatch(r"([A-D])(?:[.):]\s*(.*))?", answer.strip())
    return LETTERS.index(match[1]) if match else None


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "videoID")
    yield from text_problems(row, "question")
    yield from text_problems(row, "answer")
    if row.get("duration") not in LENGTHS:
        yield f"duration is {row.get('duration')!r}: it must be one of {', '.join(LENGTHS)}"
    found = list(options_problems(row["options"], "options", 4))
    yield from found
    if (
        not found
        and isinstance(row.get("answer"), str)
        and _answer_index(row["answer"], _texts(row["options"])) is None
    ):
        yield f"answer is {row['answer']!r}: it must be a letter from A to D"
