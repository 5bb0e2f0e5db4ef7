"""Video summarization (TVSum, SumMe): F1 of summaries of 15 % of the video, and rank correlation of importance.

- A summary is made of segments: those with the most importance (the mean over their frames) that together are not
  longer than 15 % of the video, which is a knapsack problem and solved exactly.
- F1 is taken over frames, against the summary of each user.
- Rank correlation (Otani et al., CVPR 2019) needs no summary: Kendall's tau-b and Spearman's rho of predicted and
  annotated importance, in ranks that share their mean among equals. An importance that is the same everywhere
  correlates with nothing: 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE = 0.15  # of a video that its summary may take
STRIDE = 15  # frames from one sample to the next, where rank correlation is computed

Segment = tuple[int, int]  # first frame, and the one behind the last


def summarize(importance: NDArray[Any], segments: Sequence[Segment], share: float = SHARE) -> NDArray[np.bool_]:
    """The frames of the best summary.

    Args:
        importance: of every frame, float [frames], 0 or more.
        segments: parts of the video, in order and without overlaps.
        share: of the frames that may be taken.

    Returns:
        bool [frames].
    """
    lengths = [end - start for start, end in segments]
    values = [float(importance[start:end].sum()) / max(1, end - start) for start, end in segments]
    chosen = np.zeros(len(importance), dtype=bool)
    for index in knapsack(values, lengths, int(share * len(importance))):
        chosen[slice(*segments[index])] = True
    return chosen


def knapsack(values: Sequence[float], weights: Sequence[int], capacity: int) -> list[int]:
    """Which items have the largest sum of values within a capacity; exact, items without value are left.

    Args:
        values: 0 or more each.
        weights: 1 or more each.
        capacity: the largest sum of weights.

    Returns:
        Indices in ascending order.
    """
    best = np.zeros(capacity + 1)  # best[c]: of the items so far, within c
    taken = np.zeros((len(values), capacity + 1), dtype=bool)
    for index, (value, weight) in enumerate(zip(values, weights, strict=True)):
        if weight <= capacity:
            with_item = best[: capacity + 1 - weight] + value
            taken[index, weight:] = with_item > best[weight:]
            best[weight:] = np.maximum(best[weight:], with_item)
    chosen, left = [], capacity
    for index in reversed(range(len(values))):
        if taken[index, left]:
            chosen.append(index)
            left -= weights[index]
    return chosen[::-1]


def summary_f1(summary: NDArray[np.bool_], users: NDArray[np.bool_]) -> NDArray[Any]:
    """F1 of a summary with that of each user: bool [frames], bool [users, frames] -> float [users]."""
    both = (users & summary).sum(axis=1)
    total = users.sum(axis=1) + summary.sum()
    return np.divide(2.0 * both, total, out=np.zeros(len(users)), where=total > 0)


def kendall_tau(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Kendall's tau-b of two lists of numbers; 0 where one of them is constant.

    From the table of how often each pair of values occurs, so that long lists with few distinct values cost little.
    """
    table = _contingency(first, second)
    # Pairs in the same order: what stands below and to the right; in reversed order: below and to the left.
    below = np.cumsum(table[::-1], axis=0)[::-1] - table
    right = np.cumsum(below[:, ::-1], axis=1)[:, ::-1] - below
    left = np.cumsum(below, axis=1) - below
    same, reverse = float((table * right).sum()), float((table * left).sum())
    pairs = len(first) * (len(first) - 1) / 2
    untied = [pairs - float((count * (count - 1) / 2).sum()) for count in (table.sum(axis=1), table.sum(axis=0))]
    return (same - reverse) / float(np.sqrt(untied[0] * untied[1])) if min(untied) > 0 else 0.0


def spearman_rho(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's rho of two lists of numbers; 0 where one of them is constant."""
    a, b = (_ranks(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def _contingency(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """How often each pair of distinct values occurs, float [values of first, values of second], both ascending."""
    a, a_index = np.unique(first, return_inverse=True)
    b, b_index = np.unique(second, return_inverse=True)
    table = np.zeros((len(a), len(b)))
    np.add.at(table, (a_index, b_index), 1)
    return table


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    """Ranks from 1; equals share the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[index]
