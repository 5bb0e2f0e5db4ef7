"""NExT-GQA: questions about causes and order in everyday videos, with the part of the video that shows the answer.

Reads `test.csv` or `val.csv` of the download (video_id, question, answer, qid, a0, ..., a4), beside which
`gsub_test.json` or `gsub_val.json` has the moments (`{video_id: {"duration", "location": {qid: [[start, end], ...]}}}`,
seconds). Videos are called VIDEO_ID.mp4, or as `map_vid_vidorID.json` there says (`{video_id: "1164/3238737531"}`). The
key of a question is VIDEO_ID_QID, as in the official files of predictions.

Acc@GQA counts a right option with an IoP of 0.5 or more. The official script leaves questions without a prediction out
of all but the accuracy; here they are misses.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    interval_problems,
    is_number,
    read_annotation_json,
    read_annotation_text,
    text_problems,
    video_file,
    video_problems,
)
from timechat.evaluation.benchmarks.grounded_qa import GroundedQuestionAnswering, two_rows
from timechat.evaluation.benchmarks.question_answering import index_of, options_problems
from timechat.lfs import refuse_pointer
from timechat.registry import registry

OPTIONS = tuple(f"a{number}" for number in range(5))
MAP = "map_vid_vidorID.json"


@registry.register_benchmark("nextgqa")
class NExTGQA(GroundedQuestionAnswering):
    """Five options each; see the head of this file for its formats."""

    score_names: ClassVar[Mapping[str, str]] = {
        "accuracy": "Acc@QA",
        "Acc@IoP": "Acc@GQA",
        "mIoP": "mIoP",
        "IoP@0.3": "IoP@0.3",
        "IoP@0.5": "IoP@0.5",
        "mIoU": "mIoU",
        "IoU@0.3": "IoU@0.3",
        "IoU@0.5": "IoU@0.5",
    }
    main_scores = tuple(score_names.values())
    control_scores = main_scores[2:]
    split_score = "IoU@0.5"

    def read(self, anno_path: str | Path) -> list[Row]:
        """Both rows of every question of a CSV file."""
        path = Path(anno_path)
        refuse_pointer(path, AnnotationError)  # before its name and the files beside it are judged
        if path.suffix != ".csv":
            raise AnnotationError(f"{path}: name test.csv or val.csv of NExT-GQA's datasets/nextgqa/")
        moments = _object(path.with_name(f"gsub_{path.stem}.json"))
        names = _object(path.with_name(MAP)) if path.with_name(MAP).is_file() else {}
        lines = enumerate(csv.DictReader(io.StringIO(read_annotation_text(path), newline="")), 2)
        placed = [(f"line {number}", _with_moments(raw, moments, names)) for number, raw in lines]
        rows = check_rows(path, placed, _problems, _key)
        return [two for row in rows for two in _rows(row)]


def _object(path: Path) -> dict[str, Any]:
    content = read_annotation_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected an object with a video each, found {str(content)[:60]!r}")
    return content


def _with_moments(raw: Row, moments: dict[str, Any], names: dict[str, Any]) -> Row:
    video = moments.get(str(raw.get("video_id")))
    found = video if isinstance(video, dict) else {}
    locations = found.get("location")
    location = locations.get(str(raw.get("qid"))) if isinstance(locations, dict) else None
    file = names.get(str(raw.get("video_id")), raw.get("video_id"))
    return {**raw, "location": location, "duration": found.get("duration"), "file": file}


def _key(row: Row) -> str:
    return f"{row['video_id']}_{row['qid']}"


def _rows(row: Row) -> Iterable[Row]:
    options = [row[name] for name in OPTIONS]
    files = dict.fromkeys((video_file(row["video_id"]), video_file(row["file"])))
    duration = float(row["duration"]) if is_number(row["duration"]) else None
    answer = index_of(row["answer"], options)
    return two_rows(_key(row), tuple(files), row["question"], options, answer, row["location"], duration)


def _problems(row: Row) -> Iterable[str]:
    for name in ("video_id", "file"):
        yield from video_problems(row, name)
    for name in ("question", "qid"):
        yield from text_problems(row, name)
    options: list[Any] = [row.get(name) for name in OPTIONS]
    found = list(options_problems(options, "a0 to a4", len(OPTIONS)))
    yield from found
    if not found and index_of(row.get("answer"), options) is None:
        yield f"answer is {row.get('answer')!r}: it must be the text of one of the options a0 to a4"
    if not isinstance(row["location"], list) or not row["location"]:
        yield f"qid {row.get('qid')!r} of video {row.get('video_id')!r} has no moments in the gsub file beside it"
        return
    for number, moment in enumerate(row["location"]):
        yield from interval_problems(moment, f"location[{number}] in the gsub file")
