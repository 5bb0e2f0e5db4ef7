"""TempCompass: three tasks scored by rule, by dimension and over questions; captions written for a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import TEMPCOMPASS, write_json, write_parquet, write_tempcompass

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.prompting import PROMPTS, load_prompt

BENCHMARK = get_benchmark("tempcompass")
ANSWERS = {
    "multi-choice/v1/action/0": "C",  # right
    "multi-choice/v1/action/1": "She runs.",  # unparsable
    "multi-choice/v2/speed/0": "B. slow",  # right
    "yes_no/v1/action/0": "Yes, he is.",  # wrong
    "yes_no/v1/action/1": "Yes.",  # right; the third is missing
    "caption_matching/v1/order/0": "Caption B: He dunks.",  # right
    "caption_matching/v2/order/0": "Option 1",  # wrong
    "captioning/v1/action/0": " He dunks a ball. ",
}


def test_questions_are_those_of_the_files_in_each_tasks_prompt(tmp_path: Path) -> None:
    data = write_tempcompass(tmp_path)
    prompt = load_prompt(PROMPTS / BENCHMARK.prompt_file)
    questions = BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), prompt, videos_dir=data.videos)
    assert len(questions) == 9
    assert all((data.videos / q.video).is_file() for q in questions)
    prompts = {q.id: q.prompt for q in questions}
    assert prompts["multi-choice/v1/action/0"].startswith("What is he doing?\nA. running\nB. walking\nC. a dunk\n")
    assert prompts["yes_no/v2/speed/0"] == "Is it slow?\nReply with yes or no."
    assert prompts["captioning/v1/action/0"] == "Describe what he does."
    assert len({q.prompt.removeprefix(q.query) for q in questions}) == 1


def test_scores(tmp_path: Path) -> None:
    """Nothing here is read in two ways."""
    data = write_tempcompass(tmp_path)
    result = BENCHMARK.score(ANSWERS, BENCHMARK.load_annotations(data.anno))
    tasks = {"multi-choice": 100 * 2 / 3, "yes_no": 100 / 3, "caption_matching": 50.0}
    assert result.scores == pytest.approx(
        {
            "accuracy": 100 * 4 / 8,
            **tasks,  # over questions; the mean of the dimensions of multi-choice would be 75
            **{f"{task}/{reading}": value for task, value in tasks.items() for reading in ("strict", "rule")},
            "multi-choice, action": 50.0,
            "multi-choice, speed": 100.0,
            "yes_no, action": 50.0,
            "yes_no, speed": 0.0,
            "caption_matching, order": 50.0,
            "found": 7,
            "parsed": 6,
            "expected": 8,
        }
    )
    assert [failure.id for failure in result.failures] == ["multi-choice/v1/action/1"]
    assert result.unanswered == ["yes_no/v2/speed/0"]
    assert result.predictions["caption_matching/v2/order/0"] == {
        "video": "v2.mp4",
        "answer": "It is fast.",
        "right": "It is slow.",
    }
    assert result.predictions["captioning/v1/action/0"]["answer"] == "He dunks a ball."


def test_answers_are_written_for_the_official_scripts(tmp_path: Path) -> None:
    """Each file is the questions' own with a prediction beside each question."""
    data = write_tempcompass(tmp_path)
    result = BENCHMARK.score(ANSWERS, BENCHMARK.load_annotations(data.anno))
    assert set(result.files) == {*(f"judge/{task}.json" for task in TEMPCOMPASS), "judge/unmatched.jsonl"}
    captions = json.loads(result.files["judge/captioning.json"])
    question = TEMPCOMPASS["captioning"]["v1"]["action"][0]
    assert captions == {"v1": {"action": [{**question, "prediction": " He dunks a ball. "}]}}
    yes_no = json.loads(result.files["judge/yes_no.json"])
    assert [row["prediction"] for row in yes_no["v1"]["action"]] == ["Yes, he is.", "Yes."]
    assert yes_no["v2"]["speed"] == [{"question": "Is it slow?", "answer": "yes", "prediction": ""}]
    assert [note for note in result.notes if "judge/captioning.json" in note and "not scored" in note]


def test_one_file_is_one_task(tmp_path: Path) -> None:
    data = write_tempcompass(tmp_path)
    result = BENCHMARK.score({"yes_no/v2/speed/0": "yes"}, BENCHMARK.load_annotations(data.anno / "yes_no.json"))
    assert (result.scores["yes_no"], result.scores["expected"]) == (pytest.approx(100 / 3), 3)
    assert result.notes == []
    alone = BENCHMARK.load_annotations(data.anno / "captioning.json")
    captions = BENCHMARK.score({"captioning/v1/action/0": " "}, alone)
    assert captions.scores == {"found": 1, "parsed": 0, "expected": 1}
    assert captions.failures[0].reason == "the answer is empty"


def broken(task: str, question: Any) -> Any:
    return {"v1": {"action": [TEMPCOMPASS[task]["v1"].get("action", [None])[0], question]}}


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("yes_no", 3, "expected {video: {dimension"),
        ("yes_no", [], "holds no annotations"),
        ("yes_no", [{"video_id": "v1", "question": "x"}], "row 0: needs video_id and dim"),
        ("yes_no", {"v1": ["x"]}, r"v1, no dimension, question 0: expected an object, found 'x'"),
        ("yes_no", {"v1": {"action": {"question": "x"}}}, r"v1, action, question 0: answer is None"),
        ("yes_no", broken("yes_no", "x"), r"v1, action, question 1: expected an object, found 'x'"),
        ("yes_no", broken("yes_no", {"question": "Is it?", "answer": "maybe"}), "answer is 'maybe'"),
        ("yes_no", broken("yes_no", {"question": "", "answer": "no"}), "question is ''"),
        ("multi-choice", broken("multi-choice", {"question": "What?", "answer": "A. x"}), "must list 2 or more"),
        (
            "multi-choice",
            broken("multi-choice", {"question": "What?\nA. x\nB. y", "answer": "C. z"}),
            "answer is 'C. z'",
        ),
        ("captioning", {"../v1": {"action": [{"question": "What?", "answer": "x"}]}}, "points outside"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, task: str, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"(?s){task}\.json: .*{message}"):
        BENCHMARK.read(write_json(tmp_path / f"{task}.json", content))


def test_missing_files_are_listed(tmp_path: Path) -> None:
    data = write_tempcompass(tmp_path)
    (data.anno / "captioning.json").unlink()
    with pytest.raises(AnnotationError, match=r"captioning\.json missing"):
        BENCHMARK.read(data.anno)
    with pytest.raises(AnnotationError, match="name the folder"):
        BENCHMARK.read(tmp_path / "multi_choice.json")


def test_rows_of_the_hub_are_the_same_questions(tmp_path: Path) -> None:
    """One folder per task, with a parquet file each."""
    data = write_tempcompass(tmp_path)
    for task, videos in TEMPCOMPASS.items():
        rows = [
            {"video_id": video, "dim": dimension, **question}
            for video, dimensions in videos.items()
            for dimension, questions in dimensions.items()
            for question in questions
        ]
        write_parquet(tmp_path / "hub" / task / "test-00000-of-00001.parquet", rows)
    assert BENCHMARK.read(tmp_path / "hub") == BENCHMARK.read(data.anno)
    one = BENCHMARK.read(tmp_path / "hub" / "yes_no" / "test-00000-of-00001.parquet")
    assert one == BENCHMARK.read(data.anno / "yes_no.json")
