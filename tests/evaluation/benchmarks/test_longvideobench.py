"""LongVideoBench: rows -> questions, accuracy by length and category; the test set becomes a submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.long_video_data import longvideobench_row, write_longvideobench

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

BENCHMARK = get_benchmark("longvideobench")


def test_questions(tmp_path: Path) -> None:
    data = write_longvideobench(tmp_path)
    questions = BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), "{query}", videos_dir=data.videos)
    assert [(question.id, question.video) for question in questions] == [(f"vid{n}_0", f"vid{n}.mp4") for n in range(4)]
    assert questions[2].prompt == (
        "Question: Who waves in scene 2?\nOptions:\n(A) A nurse\n(B) A pilot\n(C) A clown\n(D) A child"
    )


def test_scores(tmp_path: Path) -> None:
    data = write_longvideobench(tmp_path)
    answers = {"vid0_0": "A", "vid1_0": "(A) A nurse", "vid2_0": "Nobody."}  # right, wrong, none; the last one missing
    result = BENCHMARK.score(answers | {"vid3_0": "A child"}, BENCHMARK.load_annotations(data.anno))
    assert result.scores == pytest.approx(
        {
            "accuracy": 50.0,
            "up to 15 s": 100 / 3,
            "up to 3600 s": 100.0,
            "S2E": 50.0,
            "TOS": 50.0,
            "found": 4,
            "parsed": 3,
            "expected": 4,
        }
    )
    assert result.notes == ["Guessing would score 25.0."]
    assert BENCHMARK.score(answers, BENCHMARK.load_annotations(data.anno)).scores["accuracy"] == 25.0


@pytest.mark.parametrize("hidden", [{}, {"correct_choice": -1}])
def test_the_test_set_becomes_a_submission(tmp_path: Path, hidden: dict[str, Any]) -> None:
    rows = [{key: value for key, value in longvideobench_row(n).items() if key != "correct_choice"} for n in range(2)]
    path = write_json(tmp_path / "lvb_test_wo_gt.json", [row | hidden for row in rows])
    result = BENCHMARK.score({"vid0_0": "C"}, BENCHMARK.load_annotations(path))
    assert result.scores == {"found": 1, "parsed": 1, "expected": 2}
    assert json.loads(result.files["longvideobench_submission.json"]) == {"vid0_0": "C", "vid1_0": ""}
    assert "longvideobench_submission.json; 1 without an answer" in result.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct_choice": 4}, "correct_choice is 4: it must be an index from 0 to 3"),
        ({"correct_choice": "A"}, "correct_choice is 'A'"),
        ({"correct_choice": True}, "correct_choice is True"),
        ({"duration_group": None}, "duration_group is None"),
        ({"question_category": ""}, "question_category is ''"),
        ({"candidates": "A nurse"}, "candidates is 'A nurse'"),
        ({"video_path": "../x.mp4"}, "points outside"),
        ({"id": None}, "id is None"),
    ],
)
def test_broken_rows_name_file_row_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "lvb_val.json", [longvideobench_row(1), longvideobench_row(0) | change])
    with pytest.raises(AnnotationError, match=rf"(?s)lvb_val\.json: 1 problem.*row 1: {message}|points outside"):
        BENCHMARK.read(path)
    with pytest.raises(AnnotationError, match="expected a list"):
        BENCHMARK.read(write_json(tmp_path / "lvb_val.json", {"rows": []}))
