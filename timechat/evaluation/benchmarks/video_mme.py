"""Video-MME: 900 videos of three lengths, three questions with four options each. Accuracy, overall and by length.

Scores with "/official" are by the rule of Video-MME's own script: the first capital letter from A to D in an answer,
over the questions whose answer has one.

Reads rows with the columns of the download, as parquet, a JSON list or JSON lines: `{"videoID", "question", "options":
["A. text", ...], "answer": "A", "duration": "short|medium|long"}`, scored by `domain` and `task_type` too where they
are given; the template of the official script, `[{"video_id", "duration", "domain", "questions": [{"question_id",
"task_type", "question", "options", "answer"}]}]`; and the grouped form `{video: [{"videoID", "question", "option",
"answer", "duration"}]}`. The video is VIDEOID.mp4, else VIDEO_ID.mp4 (001.mp4), in any container; the id is
`question_id`, else VIDEOID/0, VIDEOID/1, ....

With subtitles: `timechat evaluate --asr` with the folder of their .srt files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, text_problems, video_file, video_problems
from timechat.evaluation.benchmarks.public_rules import PubliclyScored, Reading
from timechat.evaluation.benchmarks.question_answering import (
    index_of,
    options_problems,
    row_id,
    without_letters,
)
from timechat.evaluation.benchmarks.rows import Rows, read_annotations
from timechat.evaluation.metrics.multiple_choice import LETTERS
from timechat.registry import registry

LENGTHS = ("short", "medium", "long")
_EXTRA = {"domain": "domain", "task": "task_type"}  # name of the category -> column


@registry.register_benchmark("video_mme")
class VideoMME(PubliclyScored):
    """Short, medium and long videos; see the head of this file for its formats."""

    main_scores = ("accuracy", *LENGTHS)
    compared = main_scores

    def read_by_rule(self, answer: str, row: Row) -> int | None:
        """As Video-MME's own script, which leaves out what it reads nothing in."""
        match = re.search("[ABCD]", answer.replace("Answer:", ""))
        return LETTERS.index(match[0]) if match else None

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """The scores with /official are over the questions whose answers the rule reads."""
        scores, predictions = super().evaluate(rows, parsed, answered)
        read = {key for key, value in parsed.items() if isinstance(value, Reading) and value.rule is not None}
        counted = [row for row in rows if row["id"] in read]
        official = {name: 0.0 for name in scores if name.endswith("/official")}
        if counted:
            kept = {key: parsed[key] for key in read}
            official |= {
                name: value for name, value in super().evaluate(counted, kept, read)[0].items() if name in official
            }
        return scores | official, predictions

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows, whatever the file's form."""
        seen: dict[Any, int] = defaultdict(int)
        rows = []
        for where, raw in _raw_rows(anno_path):
            if isinstance(raw, dict):
                video = raw.get("videoID", raw.get("video_id"))
                raw = {
                    **raw,
                    "videoID": video,
                    "options": raw.get("options", raw.get("option")),
                    "id": _id(raw, seen[str(video)]),
                }
                seen[str(video)] += 1
            rows.append((where, raw))
        return [_row(raw) for raw in check_rows(anno_path, rows, _problems, row_id)]


def _raw_rows(anno_path: str | Path) -> list[tuple[str, Any]]:
    """Each question and where it stands."""
    content = read_annotations(anno_path)
    if isinstance(content, dict) and all(isinstance(rows, list) for rows in content.values()):
        return [(f"{vid}, question {n}", row) for vid, rows in content.items() for n, row in enumerate(rows)]
    if not isinstance(content, Rows):
        raise AnnotationError(f"{anno_path}: expected a list of questions, found {str(content)[:60]!r}")
    return [question for where, row in content.placed for question in _nested(where, row)]


def _nested(where: str, row: Any) -> Iterable[tuple[str, Any]]:
    """The questions of a video of the official template, with what is said of the video; any other row as it is."""
    if not isinstance(row, dict) or not isinstance(row.get("questions"), list):
        return [(where, row)]
    video = {key: value for key, value in row.items() if key != "questions"}
    return [
        (f"{where}, question {n}", {**video, **question} if isinstance(question, dict) else question)
        for n, question in enumerate(row["questions"])
    ]


def _id(raw: Row, number: int) -> str:
    return str(raw.get("question_id") or f"{raw.get('videoID')}/{number}")


def _row(raw: Row) -> Row:
    options = without_letters(raw["options"])
    extra = tuple(f"{name}: {raw[key]}" for name, key in _EXTRA.items() if raw.get(key))
    return {
        "id": raw["id"],
        "videos": tuple(dict.fromkeys(video_file(raw[key]) for key in ("videoID", "video_id") if raw.get(key))),
        "question": raw["question"].strip(),
        "options": options,
        "answer": _answer_index(raw["answer"], options),
        "categories": (raw["duration"], *extra),
    }


def _answer_index(answer: str, options: list[str]) -> int | None:
    """Index of the right option, which is given by its letter, its text, or both ("A", "A. text")."""
    by_text = index_of(answer, options)
    if by_text is not None:
        return by_text
    match = re.fullmatch(r"([A-D])(?:[.):]\s*(.*))?", answer.strip())
    return LETTERS.index(match[1]) if match else None


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "videoID")
    if row.get("video_id") is not None:
        yield from video_problems(row, "video_id")
    yield from text_problems(row, "question")
    yield from text_problems(row, "answer")
    if row.get("duration") not in LENGTHS:
        yield f"duration is {row.get('duration')!r}: it must be one of {', '.join(LENGTHS)}"
    found = list(options_problems(row["options"], "options", 4))
    yield from found
    if (
        not found
        and isinstance(row.get("answer"), str)
        and _answer_index(row["answer"], without_letters(row["options"])) is None
    ):
        yield f"answer is {row['answer']!r}: it must be a letter from A to D"
