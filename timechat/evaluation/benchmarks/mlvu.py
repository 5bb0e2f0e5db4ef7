"""MLVU: questions about videos of minutes to hours. Seven tasks are multiple choice; accuracy, of each and on average.

Reads the folder `json/` of the download (`1_plotQA.json`, ..., one file per task), or one of these files for that task
only: `[{"video", "question", "candidates": [strings], "answer": text, "question_type"}]`. The video is below the folder
that is named as the file (`1_plotQA/`), the id `1_plotQA/0`: file and number of the row. The other two files
(`8_sub_scene.json`, `9_summary.json`) ask for texts that a language model has to judge, and are not read.

Any other file is the test set's: rows with a `question_id`, the id, and without an answer. They are not scored;
`mlvu_submission.json` holds them as the server takes them: `[{"question_id", "question_type", "option"}]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    read_annotation_json,
    text_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.question_answering import (
    SubmittedQuestions,
    choice_problems,
    index_of,
    options_problems,
    row_id,
)
from timechat.registry import registry

# File of the dev set -> the task as papers print it.
TASKS = {
    "1_plotQA": "Plot QA",
    "2_needle": "Needle QA",
    "3_ego": "Ego Reasoning",
    "4_count": "Action Count",
    "5_order": "Action Order",
    "6_anomaly_reco": "Anomaly Recognition",
    "7_topic_reasoning": "Topic Reasoning",
}
GENERATION = ("8_sub_scene", "9_summary")


@registry.register_benchmark("mlvu")
class MLVU(SubmittedQuestions):
    """The multiple-choice tasks; see the head of this file for its formats."""

    main_scores = ("accuracy", "average of tasks")
    submission_file = "mlvu_submission.json"

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of all tasks, of the one whose file is named, or of the test set."""
        path = Path(anno_path)
        if path.stem in GENERATION:
            raise AnnotationError(f"{path}: needs a language model as judge; name one of {_files()}, or their folder")
        if not path.is_dir():
            return _read_task(path) if path.stem in TASKS else _read_test(path)
        missing = [f"{key}.json" for key in TASKS if not (path / f"{key}.json").is_file()]
        if missing:
            raise AnnotationError(
                f"{path}: {len(missing)} of MLVU's {len(TASKS)} files of multiple-choice questions are missing "
                f"({', '.join(missing)}); download them, or name one file to evaluate only its task"
            )
        return [row for key in TASKS for row in _read_task(path / f"{key}.json")]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Accuracy over all questions, of each task, and the mean over tasks; of the test set only counts."""
        scores, predictions = super().evaluate(rows, parsed, answered)
        names = dict.fromkeys(row["categories"][0] for row in rows)
        tasks = [scores[name] for name in names if name in scores]
        return {**scores, **({"average of tasks": sum(tasks) / len(tasks)} if tasks else {})}, predictions

    def submission(self, letters: Mapping[str, str], rows: list[Row]) -> Any:
        """A list of the test set's questions with the letter of each."""
        return [
            {"question_id": row["id"], "question_type": row["categories"][0], "option": letters[row["id"]]}
            for row in rows
        ]


def _files() -> str:
    return ", ".join(f"{key}.json" for key in TASKS)


def _read_list(path: Path) -> list[Any]:
    content = read_annotation_json(path)
    if not isinstance(content, list):
        raise AnnotationError(f"{path}: expected a list of questions, found {str(content)[:60]!r}")
    return content


def _read_task(path: Path) -> list[Row]:
    key = path.stem
    named = [{**row, "id": f"{key}/{n}"} if isinstance(row, dict) else row for n, row in enumerate(_read_list(path))]
    rows = [(f"row {number}", row) for number, row in enumerate(named)]
    return [
        _row(raw, raw["id"], f"{key}/{raw['video']}", TASKS[key]) for raw in check_rows(path, rows, _problems, row_id)
    ]


def _read_test(path: Path) -> list[Row]:
    rows = ((f"row {number}", row) for number, row in enumerate(_read_list(path)))
    checked = check_rows(path, rows, _test_problems, lambda row: str(row["question_id"]))
    return [_row(raw, str(raw["question_id"]), raw["video"], raw["question_type"]) for raw in checked]


def _row(raw: Row, key: str, video: str, task: str) -> Row:
    return {
        "id": key,
        "videos": (video,),
        "question": raw["question"].strip(),
        "options": raw["candidates"],
        "answer": index_of(raw.get("answer"), raw["candidates"]),
        "categories": (task,),
    }


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "video")
    yield from choice_problems(row, "question", "candidates", "answer")


def _test_problems(row: Row) -> Iterable[str]:
    yield from id_problems(row, "question_id")
    yield from video_problems(row, "video")
    yield from text_problems(row, "question_type")
    if row.get("answer") is not None:
        yield from choice_problems(row, "question", "candidates", "answer")
    else:
        yield from text_problems(row, "question")
        yield from options_problems(row.get("candidates"), "candidates")
