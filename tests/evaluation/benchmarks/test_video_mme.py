"""Video-MME: three forms of one file, and accuracies by length, domain and task computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import video_mme_rows, write_json, write_video_mme

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

BENCHMARK = get_benchmark("video_mme")
# right, wrong; right, unparsable; right, and one without an answer
ANSWERS = {"short-1": "A", "short-2": "(A)", "medium-1": "A. A dog.", "medium-2": "?", "long-1": "A dog"}


@pytest.mark.parametrize("form", ["rows", "lines"])
def test_questions_and_scores(tmp_path: Path, form: str) -> None:
    data = write_video_mme(tmp_path, form)
    questions = BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), "{query}", videos_dir=data.videos)
    assert [(q.id, q.video) for q in questions][:3] == [
        ("short-1", "shortClip.mp4"),
        ("short-2", "shortClip.mp4"),
        ("medium-1", "mediumClip.mp4"),
    ]
    assert (
        questions[0].prompt == "Question: Who barks?\nOptions:\n(A) A dog.\n(B) A cat.\n(C) A bird.\n(D) A fish."
    )  # each letter once
    result = BENCHMARK.score(ANSWERS, BENCHMARK.load_annotations(data.anno))
    assert result.scores == pytest.approx(
        {
            "accuracy": 50.0,
            "short": 50.0,
            "medium": 50.0,
            "long": 50.0,
            "accuracy/official": 75.0,  # of four: "?" and a missing answer are left out
            "short/official": 50.0,
            "medium/official": 100.0,
            "long/official": 100.0,
            "domain: Knowledge": 50.0,
            "task: Counting": 100.0,
            "task: Reasoning": 0.0,
            "found": 5,
            "parsed": 4,
            "expected": 6,
        }
    )
    assert [failure.id for failure in result.failures] == ["medium-2"]
    assert result.unanswered == ["long-2"]


def test_the_grouped_form_has_no_domains_and_no_ids(tmp_path: Path) -> None:
    data = write_video_mme(tmp_path, "grouped")
    keys = [q.id for q in BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), "{query}")]
    assert keys == [f"{length}Clip/{number}" for length in ("short", "medium", "long") for number in range(2)]
    result = BENCHMARK.score({"longClip/1": "D"}, BENCHMARK.load_annotations(data.anno))
    scores = {"accuracy": 100 / 6, "short": 0.0, "medium": 0.0, "long": 50.0, "found": 1, "parsed": 1, "expected": 6}
    official = {"accuracy/official": 100.0, "short/official": 0.0, "medium/official": 0.0, "long/official": 100.0}
    assert result.scores == pytest.approx(scores | official)


def test_other_containers_are_found(tmp_path: Path) -> None:
    data = write_video_mme(tmp_path)
    (data.videos / "shortClip.mp4").rename(data.videos / "shortClip.mkv")
    annotations = BENCHMARK.load_annotations(data.anno)
    assert BENCHMARK.questions(annotations, "{query}", videos_dir=data.videos)[0].video == "shortClip.mkv"


@pytest.mark.parametrize(
    ("options", "answer", "texts", "index"),
    [
        (["A. x", "B. y", "C. z", "D. w"], "C", ["x", "y", "z", "w"], 2),
        (["A) x", "B) y", "C) z", "D) w"], "B.", ["x", "y", "z", "w"], 1),
        (["x", "y", "z", "w"], "D. w", ["x", "y", "z", "w"], 3),
        (["x", "y", "z", "w"], "y", ["x", "y", "z", "w"], 1),
        (["A. Smith", "B. Jones", "x", "y"], "A", ["A. Smith", "B. Jones", "x", "y"], 0),  # names, not letters
        (["D. x", "C. y", "B. z", "A. w"], "D. x", ["D. x", "C. y", "B. z", "A. w"], 0),
    ],
)
def test_letters_in_front_of_options(
    tmp_path: Path, options: list[str], answer: str, texts: list[str], index: int
) -> None:
    row = {**video_mme_rows("short")[0], "options": options, "answer": answer}
    read = BENCHMARK.read(write_json(tmp_path / "a.json", [row]))
    assert (read[0]["options"], read[0]["answer"]) == (texts, index)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": "120"}, r"row 0: duration is '120': it must be one of short, medium, long"),
        ({"options": ["A. x", "B. y"]}, r"row 0: options is .* it must be a list of 4 strings"),
        ({"answer": "E"}, r"row 0: answer is 'E': it must be a letter"),
        ({"answer": 1}, r"row 0: answer is 1"),
        ({"question": ""}, r"row 0: question is ''"),
        ({"videoID": None}, r"row 0: videoID is None"),
        ({"videoID": "/etc/x"}, r"row 0: videoID '/etc/x' points outside"),
    ],
)
def test_broken_rows_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "a.json", [{**video_mme_rows("short")[0], **change}])
    with pytest.raises(AnnotationError, match=message):
        BENCHMARK.read(path)


def test_broken_files_name_the_place(tmp_path: Path) -> None:
    rows = video_mme_rows("short")
    with pytest.raises(AnnotationError, match="row 1: id 'short-1' is used in row 0 too"):
        BENCHMARK.read(write_json(tmp_path / "a.json", [rows[0], rows[0]]))
    with pytest.raises(AnnotationError, match="v, question 0: expected an object"):
        BENCHMARK.read(write_json(tmp_path / "a.json", {"v": ["x"]}))
    with pytest.raises(AnnotationError, match="expected a list"):
        BENCHMARK.read(write_json(tmp_path / "a.json", {"v": "x"}))
    (tmp_path / "a.jsonl").write_text('\n{"half": \n')
    with pytest.raises(AnnotationError, match="line 2: expected an object"):
        BENCHMARK.read(tmp_path / "a.jsonl")


def test_the_template_of_the_official_script(tmp_path: Path) -> None:
    """Questions nested in their video, which has its number alone; a response that is there plays no part."""
    questions = [
        {**{k: row[k] for k in ("question_id", "task_type", "question", "options", "answer")}, "response": "B"}
        for row in video_mme_rows("short")
    ]
    video = {"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "x", "questions": questions}
    rows = BENCHMARK.read(write_json(tmp_path / "template.json", [video]))
    assert [(row["id"], row["videos"], row["answer"]) for row in rows] == [
        ("short-1", ("001.mp4",), 0),
        ("short-2", ("001.mp4",), 3),
    ]
    assert rows[0]["categories"] == ("short", "domain: Knowledge", "task: Counting")
    with pytest.raises(AnnotationError, match="row 0, question 1: expected an object"):
        BENCHMARK.read(write_json(tmp_path / "template.json", [{**video, "questions": [questions[0], 3]}]))
