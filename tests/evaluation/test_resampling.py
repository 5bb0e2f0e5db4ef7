"""Confidence intervals and paired tests against closed forms and small cases that a hand can count."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from timechat.evaluation.resampling import SEED, QuestionScores, bootstrap, is_mean, paired_test


def questions(values: list[float], per_video: int = 1, name: str = "accuracy") -> QuestionScores:
    keys = [str(number) for number in range(len(values))]
    videos = {key: f"v{number // per_video}" for number, key in enumerate(keys)}
    return QuestionScores(videos, {name: dict(zip(keys, values, strict=True))})


def width(of: QuestionScores, resamples: int = 4000) -> float:
    values = of.scores["accuracy"].values()
    low, high = bootstrap(of, {"accuracy": statistics.fmean(values)}, ["accuracy"], resamples)["intervals"]["accuracy"]
    return high - low


def test_the_interval_is_that_of_the_normal_distribution() -> None:
    """400 questions, each of its own video, 30 percent right: 2 x 1.96 sqrt(p (1 - p) / n)."""
    share = [100.0] * 120 + [0.0] * 280
    assert width(questions(share)) == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.3 * 0.7 / 400), rel=0.06)


def test_videos_are_drawn_with_all_their_questions() -> None:
    """Four equal questions to each of 100 videos say no more than one: the interval is twice as wide."""
    share = [value for value in [100.0] * 30 + [0.0] * 70 for _ in range(4)]
    assert width(questions(share, 4)) / width(questions(share)) == pytest.approx(2, rel=0.1)


def test_a_question_counts_the_same_in_every_video() -> None:
    """100 videos with nine right answers each, 100 with one wrong answer: 90 percent, not 50."""
    keys = [(video, number) for video in range(200) for number in range(9 if video < 100 else 1)]
    scores = {f"{video}/{number}": 100.0 * (video < 100) for video, number in keys}
    uneven = QuestionScores({f"{video}/{number}": str(video) for video, number in keys}, {"accuracy": scores})
    low, high = bootstrap(uneven, {"accuracy": 90.0}, ["accuracy"], 500)["intervals"]["accuracy"]
    assert 85 < low < 90 < high < 95


def test_a_single_video_has_no_spread_and_seeds_repeat() -> None:
    one = questions([100.0, 0.0, 0.0], per_video=3)
    found = bootstrap(one, {"accuracy": 100 / 3}, ["accuracy", "other"], 100)
    assert found["intervals"]["accuracy"] == pytest.approx([100 / 3, 100 / 3])
    assert (found["videos"], found["resamples"], found["seed"], found["left_out"]) == (1, 100, SEED, [])
    many = questions(list(np.linspace(0, 100, 31)))
    again = [bootstrap(many, {"accuracy": 50.0, "x": 1.0}, ["accuracy", "x"], 50) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0]["left_out"] == ["x"]


def test_p_counts_exchanges_of_whole_videos() -> None:
    """Four videos, all better by 10: of 16 exchanges two are as far from 0, one of them the answers as they are."""
    first = questions([10.0, 20.0, 30.0, 40.0] * 2, per_video=2)
    second = questions([20.0, 30.0, 40.0, 50.0] * 2, per_video=2)
    test = paired_test(first, second, "accuracy")
    assert test is not None
    assert test.p == pytest.approx(2 / 16, abs=0.01)
    assert (test.first, test.second, test.difference) == (25.0, 35.0, 10.0)
    assert (test.low, test.high) == pytest.approx((10.0, 10.0))
    assert (test.questions, test.videos) == (8, 4)


def test_equal_answers_do_not_differ_and_opposite_ones_cancel() -> None:
    first = questions([0.0, 100.0] * 20)
    same = paired_test(first, first, "accuracy")
    assert same is not None
    assert (same.difference, same.p) == (0.0, 1.0)
    opposite = paired_test(first, questions([100.0, 0.0] * 20), "accuracy", 2000)
    assert opposite is not None
    assert opposite.p == 1.0
    assert opposite.low < 0 < opposite.high


def test_a_large_difference_is_significant() -> None:
    first = questions([0.0] * 40)
    test = paired_test(first, questions([100.0] * 20 + [0.0] * 20), "accuracy", 2000)
    assert test is not None
    assert test.p < 0.001
    assert 0 < test.low < 50 < test.high < 100


def test_only_questions_that_both_have_about_the_same_video_count() -> None:
    first, second = questions([0.0, 50.0, 100.0]), questions([100.0, 50.0])
    second.videos["1"] = "another"
    test = paired_test(first, second, "accuracy")
    assert test is not None
    assert (test.questions, test.difference) == (1, 100.0)
    assert paired_test(first, second, "mIoU") is None


def test_a_mean_is_recognised() -> None:
    assert is_mean({"1": 33.33, "2": 66.67}, 50.0)
    assert is_mean({"1": 33.333, "2": 66.667}, 50.01)
    assert not is_mean({"1": 33.33, "2": 66.67}, 50.1)
    assert not is_mean({}, 0.0)
    assert not is_mean({"1": 0.0}, None)


def test_rows_of_a_file() -> None:
    some = QuestionScores({"1": "v", "2": "w"}, {"a": {"1": 1.0, "2": 2.0}, "b": {"2": 3.0}})
    rows = list(some.rows())
    assert rows[0] == {"id": "1", "video": "v", "scores": {"a": 1.0}}
    assert QuestionScores.of_rows(rows) == some
