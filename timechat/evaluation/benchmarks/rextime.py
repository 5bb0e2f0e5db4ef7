"""ReXTime: what happens before, after or because of what, when question and answer stand in different parts of a video?

Reads the rows of the hub (`rextime_val.json`, or the same as JSON lines or parquet): `{"qid", "vid", "duration",
"question", "options": [four strings], "ans": "A", "span": [start, end], "category"}`, seconds. Videos are those of
ActivityNet (v_ID) and QVHighlights: VID.mp4, alone or in folders called `activitynet/` and `qvhighlights/`.

The test split has neither `ans` nor `span`: nothing is scored then, and `rextime_submission.jsonl`, which is written
for every split, is what the server and the official script take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from timechat.evaluation.benchmarks.activitynet import PREFIX, video_files
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    interval_problems,
    is_number,
    text_problems,
    video_file,
    video_problems,
)
from timechat.evaluation.benchmarks.grounded_qa import MOMENT, OPTION, GroundedQuestionAnswering, pairs_of, two_rows
from timechat.evaluation.benchmarks.question_answering import letter_of, options_problems, without_letters
from timechat.evaluation.benchmarks.rows import read_rows
from timechat.evaluation.metrics.multiple_choice import LETTERS
from timechat.io import json_line
from timechat.registry import registry

SUBMISSION = "rextime_submission.jsonl"
COUNT = 4  # options


@registry.register_benchmark("rextime")
class ReXTime(GroundedQuestionAnswering):
    """Four options each; see the head of this file for its formats."""

    score_names: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy",
        "mIoU": "mIoU",
        "IoU@0.3": "R@1 IoU=0.3",
        "IoU@0.5": "R@1 IoU=0.5",
        "Acc@IoU": "Acc@IoU=0.5",
    }
    main_scores = tuple(score_names.values())
    control_scores = main_scores[1:4]

    def read(self, anno_path: str | Path) -> list[Row]:
        """Both rows of every question."""
        placed = read_rows(anno_path, "a list of questions")
        hidden = not any(isinstance(row, dict) and (row.get("ans") or row.get("span")) for _, row in placed)
        check = _question_problems if hidden else _problems
        return [two for row in check_rows(anno_path, placed, check, lambda row: str(row["qid"])) for two in _rows(row)]

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """The submission; where an answer says nothing, the whole video, or an option that is none."""
        lines = []
        for pair in pairs_of(rows):
            said = {row["asks"]: parsed.get(row["id"]) for row in pair}
            moment = said.get(MOMENT) or [(0.0, pair[0]["duration"] or 0.0)]
            letter = letter_of(said.get(OPTION)) or ""
            lines.append({"qid": pair[0]["key"], "pred_relevant_windows": [list(moment[0])], "ans": letter})
        return {SUBMISSION: "".join(map(json_line, lines))}

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """That nothing is scored without labels."""
        if rows[0]["moments"] is not None:
            return []
        return [f"The annotations have no labels, so nothing is scored; {SUBMISSION} holds the answers for the server."]


def _rows(row: Row) -> Iterable[Row]:
    file = video_file(row["vid"])
    source = "activitynet" if row["vid"].startswith(PREFIX) else "qvhighlights"
    names = (file, f"{source}/{file}", *(video_files(file) if source == "activitynet" else ()))
    answer, moments = (LETTERS.index(row["ans"]), [row["span"]]) if row.get("ans") else (None, None)
    duration = float(row["duration"]) if is_number(row.get("duration")) else None
    options = without_letters(row["options"])
    return two_rows(str(row["qid"]), tuple(dict.fromkeys(names)), row["question"], options, answer, moments, duration)


def _question_problems(row: Row) -> Iterable[str]:
    """What is wrong with a row, labels aside."""
    yield from id_problems(row, "qid")
    yield from video_problems(row, "vid")
    yield from text_problems(row, "question")
    yield from options_problems(row.get("options"), "options", COUNT)


def _problems(row: Row) -> Iterable[str]:
    yield from _question_problems(row)
    yield from interval_problems(row.get("span"), "span")
    if not isinstance(row.get("ans"), str) or row["ans"] not in tuple(LETTERS[:COUNT]):
        yield f"ans is {row.get('ans')!r}: it must be a letter from A to {LETTERS[COUNT - 1]}"
