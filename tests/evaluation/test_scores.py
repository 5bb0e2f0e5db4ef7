"""Scores of records: order, spread, mean over seeds."""

from __future__ import annotations

from typing import Any

import pytest

from timechat.errors import PredictionError
from timechat.evaluation.scores import mean_record, ordered_scores, spread_of


def run(seed: int, value: float, **more: Any) -> dict[str, Any]:
    return {
        "benchmark": "charades_sta",
        "main_scores": ["R@1 IoU=0.5"],
        "scores": {"R@1 IoU=0.5": value / 100, "found": 4},
        "percent": {"mIoU": 10.0, "R@1 IoU=0.5": value, "found": 4},
        "controls": {"table": {"mIoU": {"whole video": value}}, "notes": {"whole video": "a sentence"}},
        "counts": {"expected": 5, "found": 4, "unparsable": 1, "unreadable_videos": 0},
        "failure_reasons": {"no times": seed},
        "settings": {"temperature": 1.0, "seed": seed},
        "seconds_per_video": None if seed == 1 else 2.0,
        "videos_of_this_run": 3,
        **more,
    }


def test_main_scores_come_first_and_counts_not_at_all() -> None:
    assert list(ordered_scores(run(1, 30.0))) == ["R@1 IoU=0.5", "mIoU"]


def test_spread_is_the_standard_error_of_shares_alone() -> None:
    record = run(1, 20.0)
    assert spread_of(record, "R@1 IoU=0.5") == pytest.approx(17.8885438)  # sqrt(20 * 80 / 5)
    assert spread_of(record, "mIoU") is None
    assert spread_of(record, "R@1 IoU=0.9") is None
    assert spread_of(record | {"percent": {"accuracy": 50.0}}, "accuracy") == pytest.approx(22.3606798)
    subset = record | {"percent": {"accuracy": 50.0, "expected": 25.0}}  # more questions were asked than are scored
    assert spread_of(subset, "accuracy") == 10.0


def test_mean_and_deviation_over_seeds() -> None:
    runs = [run(1, 20.0), run(2, 30.0), run(3, 40.0)]
    mean = mean_record(runs)
    assert mean["seeds"] == {
        "seeds": [1, 2, 3],
        "mean": {"R@1 IoU=0.5": pytest.approx(30.0), "mIoU": 10.0},
        "std": {"R@1 IoU=0.5": pytest.approx(10.0), "mIoU": 0.0},  # of a sample: sqrt((100 + 0 + 100) / 2)
    }
    assert mean["percent"] == {"mIoU": 10.0, "R@1 IoU=0.5": pytest.approx(30.0), "found": 4}
    assert mean["scores"]["R@1 IoU=0.5"] == pytest.approx(0.3)
    assert mean["counts"] == {"expected": 15, "found": 12, "unparsable": 3, "unreadable_videos": 0}
    assert mean["controls"] == {
        "table": {"mIoU": {"whole video": pytest.approx(30.0)}},
        "notes": runs[0]["controls"]["notes"],
    }
    assert mean["failure_reasons"] == {"no times": 6}
    assert mean["settings"] == {"temperature": 1.0, "seed": [1, 2, 3]}
    assert mean["seconds_per_video"] == 2.0
    assert mean["videos_of_this_run"] == 9
    assert spread_of(mean, "R@1 IoU=0.5") == pytest.approx(10.0)
    assert runs[0] == run(1, 20.0)  # untouched


def test_runs_that_differ_in_more_than_the_seed_have_no_mean() -> None:
    with pytest.raises(PredictionError, match="differ in temperature"):
        mean_record([run(1, 20.0), run(2, 30.0, settings={"temperature": 0.5, "seed": 2})])
    with pytest.raises(PredictionError, match="differ in benchmark"):
        mean_record([run(1, 20.0), run(2, 30.0, benchmark="youcook2")])
    with pytest.raises(PredictionError, match="differ in scores"):
        mean_record([run(1, 20.0), run(2, 30.0, percent={"mIoU": 1.0})])
    with pytest.raises(PredictionError, match="2 runs or more, not 1"):
        mean_record([run(1, 20.0)])
