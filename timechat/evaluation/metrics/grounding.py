"""Temporal grounding (Charades-STA, Ego4D): recall at IoU thresholds and mean IoU, in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics.intervals import check_known_ids, grounding_iou, read_interval

IOU_THRESHOLDS = (0.3, 0.5, 0.7)


def score_grounding(predictions: Mapping[str, Mapping[str, Any]], ground_truth: Mapping[str, Any]) -> dict[str, float]:
    """Score the first predicted interval of every query against its true interval.

    A query without an entry, or with an empty list of intervals (an answer that could not be parsed), is a miss: the
    denominator is always every query of the ground truth.

    Args:
        predictions: {"<id>": {"timestamp": [[start, end], ...], ...}} in seconds; only the first pair counts.
        ground_truth: {"annotations": [{"id", "timestamp": [start, end], ...}]} in seconds.

    Returns:
        "R@1 IoU=0.3", "R@1 IoU=0.5", "R@1 IoU=0.7", "mIoU" in percent; "found" (queries with an entry), "parsed"
        (those with an interval) and "expected" (all queries) as counts.

    Raises:
        PredictionError: an id that the ground truth does not have, or a broken interval.
        AnnotationError: a ground truth that is empty, broken or uses an id twice.
    """
    truth = _read_ground_truth(ground_truth)
    check_known_ids(map(str, predictions), truth)
    first = {str(key): _first_interval(str(key), entry) for key, entry in predictions.items()}
    parsed = {key: interval for key, interval in first.items() if interval is not None}
    ious = [float(grounding_iou([parsed[key]], [truth[key]])[0, 0]) for key in parsed]
    scores = {
        f"R@1 IoU={threshold}": 100.0 * sum(iou >= threshold for iou in ious) / len(truth)
        for threshold in IOU_THRESHOLDS
    }
    scores["mIoU"] = 100.0 * sum(ious) / len(truth)
    return scores | {"found": float(len(first)), "parsed": float(len(parsed)), "expected": float(len(truth))}


def score_recall(
    predictions: Mapping[str, Sequence[Sequence[float]]],
    truth: Mapping[str, tuple[float, float]],
    *,
    thresholds: Sequence[float],
    ranks: Sequence[int],
) -> dict[str, float]:
    """Recall of the best of the first N intervals, as the script of Ego4D's natural language queries has it.

    An interval hits when its IoU is above the threshold. A query without an entry or without an interval is a miss.

    Args:
        predictions: id -> [[start, end], ...] in seconds, the best one first.
        truth: id -> (start, end) in seconds.
        thresholds: of the IoU.
        ranks: how many intervals count.

    Returns:
        "R@N IoU=T" for each, and "mIoU" of the first interval, in percent; "found", "parsed" and "expected" as counts.

    Raises:
        PredictionError: an id that the ground truth does not have, or a broken interval.
        AnnotationError: there is no ground truth.
    """
    if not truth:
        raise AnnotationError("the ground truth holds no queries; nothing can be scored")
    check_known_ids(predictions, truth)
    ious = {
        key: grounding_iou(
            [read_interval(one, f"predictions[{key!r}]", PredictionError) for one in intervals], [truth[key]]
        )[:, 0]
        for key, intervals in predictions.items()
        if intervals
    }
    scores = {
        f"R@{rank} IoU={threshold}": 100.0
        * sum(bool((iou[:rank] > threshold).any()) for iou in ious.values())
        / len(truth)
        for rank in ranks
        for threshold in thresholds
    }
    scores["mIoU"] = 100.0 * sum(float(iou[0]) for iou in ious.values()) / len(truth)
    return scores | {"found": float(len(predictions)), "parsed": float(len(ious)), "expected": float(len(truth))}


def _first_interval(key: str, entry: Mapping[str, Any]) -> tuple[float, float] | None:
    where = f"predictions[{key!r}]"
    intervals = entry.get("timestamp") if isinstance(entry, Mapping) else None
    if not isinstance(intervals, list | tuple):
        raise PredictionError(f'{where}: no list "timestamp"; write [[start, end]], or [] for an unparsed answer')
    return read_interval(intervals[0], f'{where}["timestamp"][0]', PredictionError) if intervals else None


def _read_ground_truth(ground_truth: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    rows = ground_truth.get("annotations") if isinstance(ground_truth, Mapping) else None
    if not rows:
        raise AnnotationError('ground truth: "annotations" is missing or empty; give {"annotations": [...]}')
    truth: dict[str, tuple[float, float]] = {}
    for index, row in enumerate(rows):
        where = f"ground truth annotations[{index}]"
        missing = [field for field in ("id", "timestamp") if field not in row]
        if missing:
            raise AnnotationError(f"{where}: {' and '.join(missing)} missing; every annotation needs id and timestamp")
        if str(row["id"]) in truth:
            raise AnnotationError(f"{where}: id {row['id']!r} is used twice; ids must be unique")
        truth[str(row["id"])] = read_interval(row["timestamp"], f'{where}["timestamp"]', AnnotationError)
    return truth
