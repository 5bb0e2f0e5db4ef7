"""EgoSchema: the public subset is scored, everything goes into the submission, nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import egoschema_row, write_egoschema, write_json

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

BENCHMARK = get_benchmark("egoschema")
IDS = [f"{number:08x}-aaaa" for number in range(4)]  # answers 0, 3, 4 and one that is not public


def test_questions(tmp_path: Path) -> None:
    data = write_egoschema(tmp_path)
    questions = BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), "{query}", videos_dir=data.videos)
    assert [q.id for q in questions] == IDS
    assert questions[1].video == f"{IDS[1]}.mp4"
    assert questions[1].prompt == (
        "Question: What does C do over the course of the video?\nOptions:\n"
        "(A) C cooks.\n(B) C reads.\n(C) C cleans.\n(D) C builds.\n(E) C plays."
    )


def test_scores_and_submission(tmp_path: Path) -> None:
    data = write_egoschema(tmp_path)
    answers = {IDS[0]: "(A) C cooks.", IDS[2]: "C eats.", IDS[3]: "B"}  # right, unparsable, not public; one missing
    result = BENCHMARK.score(answers, BENCHMARK.load_annotations(data.anno))
    assert result.scores == pytest.approx({"accuracy": 100 / 3, "found": 2, "parsed": 1, "expected": 3})
    assert result.unanswered == [IDS[1]]
    assert [failure.id for failure in result.failures] == [IDS[2]]
    submitted = {IDS[0]: 0, IDS[1]: -1, IDS[2]: -1, IDS[3]: 1}
    assert json.loads(result.files["egoschema_submission.json"]) == submitted
    assert result.files["egoschema_submission.csv"] == "q_uid,answer\n" + "".join(
        f"{key},{index}\n" for key, index in submitted.items()
    )
    assert "3 questions whose answer is public" in result.notes[0]
    assert "all 4 questions" in result.notes[1]
    assert "2 without an answer that names an option are -1" in result.notes[1]
    assert result.predictions[IDS[3]] == {"video": f"{IDS[3]}.mp4", "answer": "B", "right": None}


def test_the_subset_alone(tmp_path: Path) -> None:
    data = write_egoschema(tmp_path)
    assert [row["id"] for row in BENCHMARK.load_annotations(data.anno / "subset_answers.json").rows] == IDS[:3]
    assert len(BENCHMARK.load_annotations(data.anno / "questions.json").rows) == 4
    with pytest.raises(AnnotationError, match="none of the 1 questions has a public answer"):
        BENCHMARK.score({}, BENCHMARK.load_annotations(data.anno, ids=[IDS[3]]))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    data = write_egoschema(tmp_path)
    (data.anno / "subset_answers.json").unlink()
    with pytest.raises(AnnotationError, match=r"subset_answers\.json: no such annotation file"):
        BENCHMARK.read(data.anno)
    with pytest.raises(AnnotationError, match="name the folder"):
        BENCHMARK.read(write_json(tmp_path / "egoschema.json", {}))
    with pytest.raises(AnnotationError, match="no such annotation file"):
        BENCHMARK.read(tmp_path / "nowhere.json")


def test_rows_of_the_hub(tmp_path: Path) -> None:
    """The id is the video's, options come with letters, and answers may be missing."""
    row = {"question_idx": "0", "question": "What?", "video_idx": "a-1", "option": [f"{x}. {x}{x}" for x in "ABCDE"]}
    rows = [{**row, "answer": "3"}, {**row, "video_idx": "b-2", "answer": None}]
    read = BENCHMARK.read(write_json(tmp_path / "test.json", rows))
    assert [(r["id"], r["videos"], r["answer"]) for r in read] == [
        ("a-1", ("a-1.mp4",), 3),
        ("b-2", ("b-2.mp4",), None),
    ]
    assert read[0]["options"] == ["AA", "BB", "CC", "DD", "EE"]
    with pytest.raises(AnnotationError, match="row 0: answer is '5'"):
        BENCHMARK.read(write_json(tmp_path / "test.json", [{**row, "answer": "5"}]))
    with pytest.raises(AnnotationError, match=r"row 0: option is .* a list of 5 strings"):
        BENCHMARK.read(write_json(tmp_path / "test.json", [{**row, "option": ["A"]}]))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("questions.json", {}, "expected a list"),
        ("questions.json", [{**egoschema_row(IDS[0]), "question": None}], "question 0: question is None"),
        ("questions.json", [{**egoschema_row(IDS[0]), "option 4": ""}], "question 0: option 4 is ''"),
        ("questions.json", [{**egoschema_row("../x")}], "points outside"),
        ("questions.json", [egoschema_row(IDS[0])] * 2, "ids must be unique"),
        ("subset_answers.json", [], "expected {q_uid"),
        ("subset_answers.json", {IDS[0]: 5}, f"1 entries, such as '{IDS[0]}': 5"),
        ("subset_answers.json", {IDS[0]: True}, f"1 entries, such as '{IDS[0]}': True"),
        ("subset_answers.json", {"other": 1}, "1 entries, such as 'other': 1"),
    ],
)
def test_broken_files_name_file_and_entry(tmp_path: Path, file: str, content: Any, message: str) -> None:
    data = write_egoschema(tmp_path)
    write_json(data.anno / file, content)
    with pytest.raises(AnnotationError, match=rf"(?s){file}: .*{message}"):
        BENCHMARK.read(data.anno)
