"""TACoS in frames and in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.moment_data import json_lines, write_tacos

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

BENCHMARK = get_benchmark("tacos")


def test_frames_become_seconds(tmp_path: Path) -> None:
    """Two frames a second; a video has the camera's name or not, and any container."""
    data = write_tacos(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    assert annotations.rows[1] == {
        "image_id": "AAAAA.mp4", "caption": "a person sits down.", "timestamp": [10.0, 20.0], "id": "AAAAA#1",
        "duration": 20.0,
    }  # fmt: skip
    (data.videos / "AAAAA.mp4").rename(data.videos / "AAAAA.avi")
    videos = [q.video for q in BENCHMARK.questions(annotations, "{query}", videos_dir=data.videos)]
    assert videos[1:3] == ["AAAAA.avi", "BBBBB-cam-002.mp4"]
    scores = BENCHMARK.score({"BBBBB#0": "From 4 to 14 seconds."}, annotations).scores
    assert scores["R@1 IoU=0.3"] == pytest.approx(20.0)
    assert scores["mIoU"] == pytest.approx(20 * 6 / 14)


def test_rows_in_seconds(tmp_path: Path) -> None:
    row = {"qid": 7, "query": "he cuts", "duration": 50.0, "vid": "s13-d25", "relevant_windows": [[1.5, 2.5]]}
    (read,) = BENCHMARK.read(json_lines(tmp_path / "test.jsonl", [row]))
    assert (read["id"], read["timestamp"], read["image_id"]) == (7, [1.5, 2.5], "s13-d25.mp4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0}, "'v', query 0: timestamps are in frames: no time: fps must be above 0"),
        ({"num_frames": None}, "num_frames a number"),
        ({"timestamps": [[1, "x"]]}, r"'v', query 0: timestamp is \[1, 'x'\]"),
        ({"sentences": []}, "timestamps and sentences of one length"),
        ({"timestamps": 3}, "timestamps and sentences of one length"),
    ],
)
def test_broken_videos_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    video = {"timestamps": [[1, 2]], "sentences": ["a"], "fps": 2.0, "num_frames": 9}
    with pytest.raises(AnnotationError, match=message):
        BENCHMARK.read(write_json(tmp_path / "a.json", {"v.avi": {**video, **change}}))
