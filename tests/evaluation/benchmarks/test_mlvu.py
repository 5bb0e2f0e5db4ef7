"""MLVU: the files of the multiple-choice tasks -> questions, scores by task; the test set becomes a submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.long_video_data import MLVU_FILES, PLACES, mlvu_row, write_mlvu

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.mlvu import TASKS
from timechat.evaluation.prompting import load_prompt

BENCHMARK = get_benchmark("mlvu")


def test_questions_of_seven_tasks(tmp_path: Path) -> None:
    data = write_mlvu(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    questions = BENCHMARK.questions(annotations, load_prompt(BENCHMARK.prompt_path), videos_dir=data.videos)
    assert [question.id for question in questions] == [f"{name}/0" for name in MLVU_FILES] == [f"{t}/0" for t in TASKS]
    assert all((data.videos / question.video).is_file() for question in questions)
    assert questions[1].prompt.startswith(
        "Question: Where does 2_needle number 0 end?\nOptions:\n(A) In the kitchen\n(B) In the garden\n(C) At sea\n"
    )


def test_scores(tmp_path: Path) -> None:
    """Of two tasks with 3 and 1 questions the mean is not the accuracy over questions."""
    anno = write_mlvu(tmp_path).anno
    for name in MLVU_FILES[2:]:
        write_json(anno / f"{name}.json", [])
    write_json(anno / "1_plotQA.json", [mlvu_row("1_plotQA", number) for number in range(3)])
    with pytest.raises(AnnotationError, match=r"3_ego\.json: holds no annotations"):
        BENCHMARK.read(anno)
    write_mlvu(tmp_path)
    write_json(anno / "1_plotQA.json", [mlvu_row("1_plotQA", number) for number in range(3)])
    answers = {f"{name}/0": "(A)" for name in MLVU_FILES[1:]}  # all right
    answers |= {"1_plotQA/0": "In the kitchen.", "1_plotQA/1": "(A)", "1_plotQA/2": "Nowhere."}  # right, wrong, none
    del answers["5_order/0"]
    result = BENCHMARK.score(answers, BENCHMARK.load_annotations(anno))
    assert result.scores["accuracy"] == pytest.approx(100 * 6 / 9)
    assert result.scores["average of tasks"] == pytest.approx((100 / 3 + 5 * 100 + 0) / 7)
    assert result.scores["Plot QA"] == pytest.approx(100 / 3)
    assert (result.scores["Action Order"], result.scores["Ego Reasoning"]) == (0.0, 100.0)
    assert set(TASKS.values()) <= set(result.scores)
    assert result.unanswered == ["5_order/0"]
    assert [failure.id for failure in result.failures] == ["1_plotQA/2"]
    assert result.files == {}
    assert result.notes == ["Guessing would score 25.0."]


def test_one_file_is_one_task(tmp_path: Path) -> None:
    anno = write_mlvu(tmp_path).anno
    result = BENCHMARK.score({"4_count/0": "A"}, BENCHMARK.load_annotations(anno / "4_count.json"))
    assert result.scores["accuracy"] == result.scores["average of tasks"] == result.scores["Action Count"] == 100.0


def test_the_test_set_becomes_a_submission(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {**mlvu_row("sportsQA", number), "question_id": f"SQA_{number}", "question_type": "sportsQA", "answer": None}
        for number in range(3)
    ]
    annotations = BENCHMARK.load_annotations(write_json(tmp_path / "test_question.json", rows))
    result = BENCHMARK.score({"SQA_0": "(C)", "SQA_1": "I cannot tell."}, annotations)
    assert result.scores == {"found": 2, "parsed": 1, "expected": 3}
    assert json.loads(result.files["mlvu_submission.json"]) == [
        {"question_id": "SQA_0", "question_type": "sportsQA", "option": "C"},
        {"question_id": "SQA_1", "question_type": "sportsQA", "option": ""},
        {"question_id": "SQA_2", "question_type": "sportsQA", "option": ""},
    ]
    assert "The answers to 3 questions are not public" in result.notes[0]
    assert "2 without an answer that names an option are empty" in result.notes[0]
    # With the answers, should somebody have them, they are scored.
    labelled = [row | {"answer": PLACES[2]} for row in rows]
    annotations = BENCHMARK.load_annotations(write_json(tmp_path / "test_labelled.json", labelled))
    result = BENCHMARK.score({"SQA_0": "(C)"}, annotations)
    assert (result.scores["sportsQA"], result.files) == (pytest.approx(100 / 3), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "On the moon"}, "row 0: answer is 'On the moon'"),
        ({"candidates": ["one"]}, "row 0: candidates is"),
        ({"question": None}, "row 0: question is None"),
        ({"video": "/etc/x.mp4"}, "row 0: video '/etc/x.mp4' points outside"),
    ],
)
def test_broken_rows_name_file_row_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "3_ego.json", [{**mlvu_row("3_ego", 0), **change}])
    with pytest.raises(AnnotationError, match=rf"(?s)3_ego\.json: 1 problem.*{message}"):
        BENCHMARK.read(path)


def test_files_that_are_missing_or_cannot_be_scored(tmp_path: Path) -> None:
    anno = write_mlvu(tmp_path).anno
    with pytest.raises(AnnotationError, match=r"9_summary\.json: needs a language model as judge"):
        BENCHMARK.read(anno / "9_summary.json")
    (anno / "6_anomaly_reco.json").unlink()
    with pytest.raises(AnnotationError, match=r"1 of MLVU's 7 files .* missing \(6_anomaly_reco\.json\)"):
        BENCHMARK.read(anno)
    with pytest.raises(AnnotationError, match=r"other\.json: 1 problem.*\n.*question_id is None"):
        BENCHMARK.read(write_json(tmp_path / "other.json", [mlvu_row("1_plotQA", 0)]))
    with pytest.raises(AnnotationError, match="expected a list of questions"):
        BENCHMARK.read(write_json(tmp_path / "4_count.json", {}))
