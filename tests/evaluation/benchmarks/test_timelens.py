"""TimeLens-Bench: three sets in one form, and its training data for the constant answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.moment_data import json_lines, write_timelens

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

NAMES = ("charades_timelens", "activitynet_timelens", "qvhighlights_timelens")


def said(start: float, end: float) -> str:
    return f"The given query happens in {start} - {end} seconds."


@pytest.mark.parametrize("name", NAMES)
def test_questions_and_scores(tmp_path: Path, name: str) -> None:
    """IoU 1, 0.8, and none for three queries."""
    data = write_timelens(tmp_path)
    benchmark = get_benchmark(name)
    annotations = benchmark.load_annotations(data.anno)
    questions = benchmark.questions(annotations, "{query}", videos_dir=data.videos)
    assert [(q.id, q.video, q.prompt) for q in questions][:2] == [
        ("AAAAA#0", "AAAAA.mp4", "a person opens a door"),
        ("AAAAA#1", "AAAAA.mp4", "a person sits down"),
    ]
    result = benchmark.score({"AAAAA#0": said(0, 10), "AAAAA#1": said(12, 20)}, annotations)
    assert result.scores == {
        "R@1 IoU=0.3": 40.0, "R@1 IoU=0.5": 40.0, "R@1 IoU=0.7": 40.0, "mIoU": pytest.approx(36.0),
        "found": 2, "parsed": 2, "expected": 5,
    }  # fmt: skip
    assert result.controls["table"]["mIoU"]["whole video"] == pytest.approx(50.0)
    assert result.controls["table"]["R@1 IoU=0.7"]["query-blind"] == pytest.approx(80.0)


def test_training_data_of_timelens(tmp_path: Path) -> None:
    """Each span of a query counts; durations are known, so the answer may be shares of the video."""
    events = [{"query": "he runs.", "span": [[0.0, 10.0], [0.0, 10.0]]}, {"query": "he sits.", "span": [[0.0, 9.0]]}]
    video = {"source": "didemo", "video_path": "didemo/x.mp4", "duration": 20.0, "events": events}
    benchmark = get_benchmark("charades_timelens")
    train = benchmark.read_train(json_lines(tmp_path / "timelens-100k.jsonl", [video]))
    assert [row["timestamp"] for row in train] == [[0.0, 10.0], [0.0, 10.0], [0.0, 9.0]]
    annotations = benchmark.load_annotations(write_timelens(tmp_path / "test").anno)
    table = benchmark.score({}, annotations, train=train).controls["table"]
    assert table["R@1 IoU=0.7"]["constant answer"] == pytest.approx(40.0)
    with pytest.raises(AnnotationError, match="line 1: expected an object"):
        benchmark.read_train(json_lines(tmp_path / "broken.jsonl", [{"events": 3}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r'expected {"VID"'),
        ({"v": {"spans": [[0, 1]], "queries": []}}, r"'v': expected an object, found .spans and queries of one length"),
        ({"v": {"spans": [[0, "x"]], "queries": ["a"]}}, r"'v', query 0: timestamp is \[0, 'x'\]"),
        ({"../v": {"spans": [[0, 1]], "queries": ["a"]}}, "points outside"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        get_benchmark("charades_timelens").read(write_json(tmp_path / "a.json", content))
