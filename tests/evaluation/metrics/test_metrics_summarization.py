"""Knapsack, F1 over frames and rank correlation, against other ways to compute them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from timechat.evaluation.metrics.summarization import (
    kendall_tau,
    knapsack,
    spearman_rho,
    summarize,
    summary_f1,
)


def best_value(values: list[float], weights: list[int], capacity: int) -> float:
    """By trying everything."""
    sets = (chosen for size in range(len(values) + 1) for chosen in combinations(range(len(values)), size))
    return max(sum(values[i] for i in chosen) for chosen in sets if sum(weights[i] for i in chosen) <= capacity)


def test_the_knapsack_is_exact() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = int(rng.integers(1, 9))
        values, weights = rng.random(count).round(2).tolist(), rng.integers(1, 12, count).tolist()
        capacity = int(rng.integers(0, 30))
        chosen = knapsack(values, weights, capacity)
        assert sum(weights[i] for i in chosen) <= capacity
        assert sum(values[i] for i in chosen) == pytest.approx(best_value(values, weights, capacity))
        assert chosen == sorted(set(chosen))


def test_greed_does_not_fill_a_knapsack() -> None:
    assert knapsack([6.0, 5.0, 5.0], [6, 5, 5], 10) == [1, 2]
    assert knapsack([0.0, 0.0, 1.0], [1, 1, 1], 3) == [2]  # what has no value is left
    assert knapsack([3.0], [4], 3) == knapsack([], [], 3) == []


def test_a_summary_takes_15_percent_and_the_mean_decides() -> None:
    importance = np.array([1.0] * 10 + [3.0] * 3 + [2.0] * 7)  # of 20 frames three may be taken
    assert np.flatnonzero(summarize(importance, [(0, 10), (10, 13), (13, 20)])).tolist() == [10, 11, 12]
    assert not summarize(importance, [(0, 10), (10, 20)]).any()  # both are too long
    assert summarize(importance, [(0, 10), (10, 20)], share=0.5).sum() == 10
    long_one = np.array([9.0, 0, 0, 4, 4, *[0.0] * 15])  # the mean of (0, 3) is 3, the sum 9
    assert np.flatnonzero(summarize(long_one, [(0, 3), (3, 5), (5, 20)])).tolist() == [3, 4]


def test_f1_with_each_user() -> None:
    summary = np.array([True, True, False, False])
    users = np.array([[True, True, False, False], [False, True, True, True], [False, False, False, True]])
    assert summary_f1(summary, users).tolist() == pytest.approx([1.0, 2 / 5, 0.0])
    nothing = np.zeros(4, dtype=bool)
    assert summary_f1(nothing, nothing[None]).tolist() == [0.0]


@pytest.mark.parametrize("distinct", [2, 5, 400])
def test_rank_correlations_are_those_of_scipy(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    for _ in range(5):
        first = rng.integers(0, distinct, 200).astype(float)
        second = first + rng.integers(0, 4, 200)
        assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
        assert kendall_tau(first, -second) == pytest.approx(-kendall_tau(first, second))
        assert spearman_rho(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_what_is_the_same_everywhere_correlates_with_nothing() -> None:
    flat, rising = np.ones(5), np.arange(5.0)
    assert kendall_tau(flat, rising) == kendall_tau(rising, flat) == spearman_rho(flat, rising) == 0.0
    assert kendall_tau(rising, rising) == spearman_rho(rising, rising) == pytest.approx(1.0)
    assert kendall_tau(np.ones(1), np.ones(1)) == 0.0
