"""Ego4D's natural language queries: clips and whole videos, the first five intervals, and the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.moment_data import json_lines, write_ego4d_nlq

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.structured import Windows


def test_clips_and_parts_of_whole_videos(tmp_path: Path) -> None:
    data = write_ego4d_nlq(tmp_path)
    benchmark = get_benchmark("ego4d_nlq")
    annotations = benchmark.load_annotations(data.anno)
    questions = benchmark.questions(annotations, "{query}", videos_dir=data.videos)
    assert [(q.id, q.video, q.start, q.end) for q in questions][1:3] == [
        ("AAAAA/u/1", "AAAAA-whole.mp4", 20.0, 40.0),
        ("BBBBB/u/0", "BBBBB.mp4", None, None),
    ]
    notes = benchmark.score({}, annotations).notes
    assert notes == ["4 queries of the file have no text and were not asked."]


def test_the_first_five_intervals_count_and_an_iou_must_exceed(tmp_path: Path) -> None:
    """AAAAA 0: IoU 0.5, which is not above 0.5. AAAAA 1: right as the fifth. BBBBB: right as the sixth, too late."""
    benchmark = get_benchmark("ego4d_nlq")
    annotations = benchmark.load_annotations(write_ego4d_nlq(tmp_path).anno)
    wrong = (0.0, 1.0)
    answers = {
        "AAAAA/u/0": Windows(((0.0, 5.0),)),
        "AAAAA/u/1": Windows((wrong,) * 4 + ((10.0, 20.0),)),
        "BBBBB/u/0": Windows(((15.0, 16.0),) * 5 + ((0.0, 10.0),)),
        "CCCCC/u/0": "nothing",
    }
    result = benchmark.score(answers, annotations)
    assert result.scores == pytest.approx(
        {"R@1 IoU=0.3": 20, "R@1 IoU=0.5": 0, "R@5 IoU=0.3": 40, "R@5 IoU=0.5": 20, "mIoU": 100 * 0.5 / 5}
        | {"found": 4, "parsed": 3, "expected": 5}
    )
    submitted = json.loads(result.files["ego4d_nlq_submission.json"])
    assert {key: submitted[key] for key in ("version", "challenge")} == {
        "version": "1.0",
        "challenge": "ego4d_nlq_challenge",
    }
    assert submitted["results"][2] == {
        "clip_uid": "BBBBB", "annotation_uid": "u", "query_idx": 0, "predicted_times": [[15.0, 16.0]] * 5,
    }  # fmt: skip
    assert len(submitted["results"]) == 3
    assert result.controls["table"]["R@1 IoU=0.3"]["whole video"] == pytest.approx(100.0)


def test_hidden_times_give_a_submission_alone(tmp_path: Path) -> None:
    data = write_ego4d_nlq(tmp_path)
    content = json.loads(data.anno.read_text())
    for video in content["videos"]:
        for query in video["clips"][0]["annotations"][0]["language_queries"]:
            query.pop("clip_start_sec", None)
            query.pop("clip_end_sec", None)
    benchmark = get_benchmark("ego4d_nlq")
    annotations = benchmark.load_annotations(write_json(tmp_path / "test.json", content))
    result = benchmark.score({"AAAAA/u/0": "3 - 5 seconds"}, annotations)
    assert result.scores == {"found": 1, "parsed": 1, "expected": 5}
    assert result.controls == {}
    assert result.examples[0].predicted == [(3.0, 5.0)]
    assert "no times" in result.notes[1]
    assert len(json.loads(result.files["ego4d_nlq_submission.json"])["results"]) == 1


def test_rows_in_seconds(tmp_path: Path) -> None:
    row = {"qid": "x", "query": "where", "duration": 480.0, "vid": "clip", "relevant_windows": [[1.5, 2.5]]}
    benchmark = get_benchmark("ego4d_nlq")
    annotations = benchmark.load_annotations(json_lines(tmp_path / "val.jsonl", [row]))
    assert benchmark.questions(annotations, "{query}")[0].video == "clip.mp4"
    result = benchmark.score({"x": "1.5 - 2.5 seconds"}, annotations)
    assert result.scores["R@1 IoU=0.5"] == 100.0
    assert result.files == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": None}, "expected videos with clips"),
        ({"video_uid": None}, "row 0"),
        ({}, r"timestamp is \[0, None\]"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    query = {"query": "where", "clip_start_sec": 0}
    annotations = [{"annotation_uid": "u", "language_queries": [query, {**query, "clip_end_sec": 1}]}]
    clip = {"clip_uid": "c", "video_start_sec": 0, "video_end_sec": 9, "annotations": annotations}
    content: Any = {"videos": [{"video_uid": "v", "clips": [clip], **change}]}
    if "video_uid" in change:
        content = ["x"]
    with pytest.raises(AnnotationError, match=message):
        get_benchmark("ego4d_nlq").read(write_json(tmp_path / "a.json", content))
