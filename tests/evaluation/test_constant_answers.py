"""The best constant answers, fitted to few annotations by hand."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from timechat.evaluation.constant_answers import MAX_EVENTS, fit_events, fit_interval, fit_profile, stretch
from timechat.evaluation.metrics.dense_captioning import IOU_THRESHOLDS
from timechat.evaluation.metrics.intervals import grounding_iou, interval_iou


def test_interval_by_hand() -> None:
    """(2, 9) overlaps (2, 12) by 0.7 and (1, 9) by 7/8; the far one is lost."""
    best = fit_interval([(2, 12), (2, 9), (1, 9), (50, 51)])
    assert best.interval == (2.0, 9.0)
    assert best.hits == 0.75
    assert best.mean_iou == pytest.approx((0.7 + 1 + 7 / 8) / 4)


def test_interval_is_the_best_of_all_pairs() -> None:
    rng = random.Random(0)
    true = [tuple(sorted((rng.randint(0, 30), rng.randint(31, 60)))) for _ in range(40)]
    pairs = itertools.product({start for start, _ in true}, {end for _, end in true})
    most = max((grounding_iou([pair], true) >= 0.5).mean() for pair in pairs)
    assert fit_interval(true).hits == most


def test_many_times_are_thinned_and_order_does_not_matter() -> None:
    rng = random.Random(0)
    true = [(start := rng.uniform(0, 20), start + rng.uniform(5, 10)) for _ in range(500)]
    best = fit_interval(true)
    assert best == fit_interval(true[::-1])
    assert best.hits > 0.3


def test_instants_alone_still_give_an_interval() -> None:
    assert fit_interval([(4.0, 4.0), (4.0, 4.0)]).interval == (4.0, 4.0)


def test_events_by_hand_are_equal_parts() -> None:
    """Three thirds in every video, which the grid of twentieths does not have: F1 is 1. Captions are the frequent ones
    of each third, not of all."""
    thirds = [(0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)]
    videos = [
        [(*third, caption) for third, caption in zip(thirds, said, strict=True)] for said in ("abx", "abc", "axc")
    ]
    events, score = fit_events(videos, 1.0)
    assert score == pytest.approx(1.0)
    assert [event[2] for event in events] == ["a", "b", "c"]
    assert [event[0] for event in events] == pytest.approx([0, 1 / 3, 2 / 3])


def test_events_by_hand_are_of_the_grid() -> None:
    """One event at 0.1 to 0.3 of each video. In seconds (span 20) the same is 2 to 6."""
    events, score = fit_events([[(0.1, 0.3, "a")], [(0.1, 0.3, "b")]], 1.0)
    assert (len(events), score) == (1, pytest.approx(1.0))
    assert events[0][:2] == pytest.approx((0.1, 0.3))
    (event,), _ = fit_events([[(2.0, 6.0, "a")]], 20.0)
    assert event == (2.0, 6.0, "a")


def test_f1_of_events_is_that_of_the_scorer() -> None:
    """The F1 that is fitted is the mean over videos of the F1 of mean precision and mean recall."""
    rng = random.Random(1)
    videos = []
    for _ in range(20):
        times = sorted(rng.uniform(0, 1) for _ in range(2 * rng.randint(1, 4)))
        videos.append([(start, end, "x") for start, end in zip(times[::2], times[1::2], strict=True)])
    events, score = fit_events(videos, 1.0)
    f1 = []
    for video in videos:
        iou = interval_iou([e[:2] for e in events], [e[:2] for e in video])
        precision = np.mean([(iou > t).any(axis=1).mean() for t in IOU_THRESHOLDS])
        recall = np.mean([(iou > t).any(axis=0).mean() for t in IOU_THRESHOLDS])
        f1.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    assert score == pytest.approx(np.mean(f1))
    assert 1 <= len(events) <= MAX_EVENTS


def test_profiles_of_other_lengths() -> None:
    assert stretch(np.array([1.0, 3.0]), 4).tolist() == [1.0, 1.0, 3.0, 3.0]
    assert stretch(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist() == [2.0, 4.0]
    profile = fit_profile([np.array([4.0, 0.0]), np.array([2.0, 2.0, 0.0, 0.0])])
    assert stretch(profile, 2).tolist() == [3.0, 0.0]
