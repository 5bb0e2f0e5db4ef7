"""Controls: parts computed by hand, then those of each temporal benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.videos import write_video

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.controls import central_interval, mean_saliency, standard_error, video_durations

# Two queries about A; one about each of B, C, D.
CHARADES = """A 0.0 10.0##a person opens a door.
A 10.0 20.0##a person sits down.
B 0.0 10.0##a person drinks.
C 5.0 15.0##a person reads.
D 5.0 15.0##a person sleeps.
"""
# IoU 1, 0.8, 6/14 (hull), no times, and no answer for D.
CHARADES_ANSWERS = {"0": (0, 10), "1": (12, 20), "2": (4, 14), "3": None}
DURATIONS = {"A.mp4": 20.0, "B.mp4": 10.0, "C.mp4": 40.0}


def said(interval: tuple[float, float] | None) -> str:
    return "I cannot tell." if interval is None else f"It happens in {interval[0]:.1f} - {interval[1]:.1f} seconds."


def grounding_controls(tmp_path: Path, **options: Any) -> dict[str, Any]:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    answers = {key: said(interval) for key, interval in CHARADES_ANSWERS.items()}
    return get_benchmark("charades_sta").score(answers, anno, **options).controls


def test_standard_error_by_hand() -> None:
    assert standard_error(50.0, 100) == 5.0
    assert standard_error(100.0, 7) == 0.0
    with pytest.raises(ValueError, match="0 percent of 0"):
        standard_error(0.0, 0)


def test_durations_of_files(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 30, fps=10)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = {"a": tmp_path / "a.mp4", "b": tmp_path / "broken.mp4", "c": tmp_path / "nowhere.mp4"}
    assert video_durations(paths) == {"a": pytest.approx(3.0)}


def test_central_interval_has_most_company() -> None:
    """(0, 10) and (0, 6) agree at IoU 0.6; of the two (0, 10) overlaps (8, 20) a little as well."""
    assert central_interval([(8, 20), (0, 6), (0, 10)]) == (0, 10)


def test_mean_saliency_of_videos_of_other_length() -> None:
    assert mean_saliency([np.array([4.0, 2.0]), np.array([2.0])]).tolist() == [3.0, 1.0]


def test_grounding_controls_by_hand(tmp_path: Path) -> None:
    """Whole videos: IoU 0.5, 0.5, 1, 0.25, and D has no duration. Query-blind: all but one query of A. Shuffled: the
    answers of A swapped hit nothing."""
    controls = grounding_controls(tmp_path, durations=DURATIONS)
    assert controls["table"]["R@1 IoU=0.5"] == {
        "whole video": pytest.approx(60.0), "query-blind": pytest.approx(80.0), "shuffled questions": 0.0
    }  # fmt: skip
    assert controls["table"]["R@1 IoU=0.7"]["whole video"] == pytest.approx(20.0)
    assert controls["table"]["mIoU"]["whole video"] == pytest.approx(100 * (0.5 + 0.5 + 1 + 0.25) / 5)
    assert controls["by_queries"] == {"R@1 IoU=0.5": {"1": 0.0, "2": 100.0}}
    assert "--train-anno" in controls["left_out"]["constant answer"]
    assert "misses for want of a duration: 1 of 5" in controls["notes"]["whole video"]
    assert "over 2 of 5 questions" in controls["notes"]["shuffled questions"]
    assert "R@1 IoU=0.5 100.00" in controls["notes"]["shuffled questions"]
    json.dumps(controls)


def test_an_answer_to_everything_survives_the_shuffle(tmp_path: Path) -> None:
    """Both queries of A are answered with the first one's interval: swapping changes nothing, one of two is hit."""
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = get_benchmark("charades_sta").score({"0": said((0, 10)), "1": said((0, 10))}, anno).controls
    assert controls["table"]["R@1 IoU=0.5"]["shuffled questions"] == 50.0


def test_missing_answers_stay_missing_when_shuffled(tmp_path: Path) -> None:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = get_benchmark("charades_sta").score({"0": said((10, 20))}, anno).controls
    assert controls["table"]["R@1 IoU=0.5"]["shuffled questions"] == 50.0


def test_shuffling_needs_company(tmp_path: Path) -> None:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = get_benchmark("charades_sta").score({"2": said((0, 1))}, anno, ids=["0", "2", "4"]).controls
    assert "two questions about the same video" in controls["left_out"]["shuffled questions"]
    assert "duration" in controls["left_out"]["whole video"]


def test_constant_interval_in_seconds(tmp_path: Path) -> None:
    """(5, 15) hits two train queries of three; in the test split it hits C and D alone."""
    train = tmp_path / "train.txt"
    train.write_text("X 5.0 15.0##one.\nX 6.0 14.0##two.\nY 30.0 31.0##three.\n")
    controls = grounding_controls(tmp_path, train_anno_path=train)
    assert controls["table"]["R@1 IoU=0.5"]["constant answer"] == pytest.approx(40.0)
    assert controls["table"]["mIoU"]["constant answer"] == pytest.approx(100 * (5 / 15 + 5 / 15 + 5 / 15 + 2) / 5)
    assert controls["notes"]["constant answer"].startswith("5.0 - 15.0 seconds, fitted to 3 queries")


def test_constant_interval_as_shares(tmp_path: Path) -> None:
    """The first half of videos of very different length: no interval in seconds fits, the share fits exactly. Of the
    test split it hits A's first query exactly, half of B, nothing else."""
    train = tmp_path / "train.txt"
    train.write_text("X 0.0 5.0##one.\nY 0.0 50.0##two.\nZ 0.0 500.0##three.\n")
    lengths = DURATIONS | {"X.mp4": 10.0, "Y.mp4": 100.0, "Z.mp4": 1000.0}
    controls = grounding_controls(tmp_path, train_anno_path=train, durations=lengths)
    assert controls["table"]["mIoU"]["constant answer"] == pytest.approx(100 * (1 + 0 + 0.5 + 10 / 20) / 5)
    assert "from 0.0 to 50.0 percent of the video" in controls["notes"]["constant answer"]
    without = grounding_controls(tmp_path, train_anno_path=train, durations=DURATIONS)
    assert "seconds" in without["notes"]["constant answer"]


def test_constant_interval_from_training_data(tmp_path: Path) -> None:
    """TimeIT's form, several turns an item; an answer without times names its place."""
    items = [{"video": "x.mp4", "QA": [{"q": "When?", "a": said((5, 15))}, {"q": "When?", "a": said((5, 14))}]}]
    train = tmp_path / "train.json"
    train.write_text(json.dumps(items))
    controls = grounding_controls(tmp_path, train_anno_path=train)
    assert "fitted to 2 queries" in controls["notes"]["constant answer"]
    items[0]["QA"][1]["a"] = "Nobody knows."
    train.write_text(json.dumps(items))
    with pytest.raises(AnnotationError, match=r"train.json: item 0, QA 1: .*train split of this task alone"):
        grounding_controls(tmp_path, train_anno_path=train)
    train.write_text(json.dumps([{"video": "x.mp4"}]))
    with pytest.raises(AnnotationError, match='item 0: needs "video" and "QA"'):
        grounding_controls(tmp_path, train_anno_path=train)
