"""Intervals in seconds: reading them from files, and their intersection over union."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import PredictionError, TimeChatError

UNION_EPSILON = 1e-8


def read_interval(value: Any, where: str, error: type[TimeChatError]) -> tuple[float, float]:
    """Check one `[start, end]` pair and return it in ascending order.

    Args:
        value: what the file says; two finite numbers >= 0, in seconds. A reversed pair is swapped, as in the
            published scorers.
        where: names file, entry and field in the error.
        error: the type to raise, `PredictionError` or `AnnotationError`.

    Raises:
        error: when `value` is anything else.
    """
    try:
        start, end = (float(x) for x in value)
    except (TypeError, ValueError, OverflowError):
        raise error(f"{where}: {ascii(value)[:60]} is not [start, end] in seconds; write two numbers") from None
    if not (math.isfinite(start) and math.isfinite(end)) or min(start, end) < 0:
        raise error(f"{where}: {value!r} holds a time that is not a finite number >= 0; correct or remove it")
    return (start, end) if start <= end else (end, start)


def interval_iou(first: Iterable[Sequence[float]], second: Iterable[Sequence[float]]) -> NDArray[Any]:
    """IoU of every pair of two lists of intervals, as the published scorer of dense captions computes it.

    The union has 1e-8 added to it, so a quotient that is a threshold exactly does not reach it: 0.9 / 3 is not 0.3.

    Args:
        first: N pairs (start, end) in seconds, ascending.
        second: M pairs.

    Returns:
        float64 array [N, M].
    """
    overlap, hull = _overlap_and_hull(first, second)
    return overlap / (hull + UNION_EPSILON)


def grounding_iou(first: Iterable[Sequence[float]], second: Iterable[Sequence[float]]) -> NDArray[Any]:
    """IoU of every pair of two lists of intervals, as the published scorer of grounding computes it: without epsilon.

    A quotient that is a threshold exactly reaches it. Two identical instants (zero length), a division by zero there,
    have IoU 1. Arguments and result as for `interval_iou`.
    """
    overlap, hull = _overlap_and_hull(first, second)
    return np.divide(overlap, hull, out=np.ones_like(hull), where=hull > 0)


def _overlap_and_hull(
    first: Iterable[Sequence[float]], second: Iterable[Sequence[float]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Seconds that two intervals share, and from the earlier start to the later end: the union where they overlap."""
    a = np.asarray(list(first), dtype=np.float64).reshape(-1, 1, 2)
    b = np.asarray(list(second), dtype=np.float64).reshape(1, -1, 2)
    overlap = np.maximum(0.0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    return overlap, np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])


def check_known_ids(predicted: Iterable[Any], known: Iterable[Any]) -> None:
    """Raise `PredictionError` naming the predicted ids that the ground truth does not have."""
    unknown = sorted(set(predicted) - set(known), key=str)
    if unknown:
        shown = ", ".join(repr(x) for x in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise PredictionError(
            f"predictions: {len(unknown)} ids are not in the ground truth ({shown}); score the file against the "
            "annotations that it was made from"
        )
