"""How E.T. Bench scores one answer of each task whose score is a mean over samples; fractions.

The rules are those of its script. Its IoU is in single precision, where 0.7 is a little less than in double: an IoU of
exactly 0.7 misses that threshold in TVG, EPM, TEM and GVQ, which compare in double, and meets it in TAL, which does
not. So it is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.etbench.answers import GroundedOption, Interval, Option

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
MAP_SECONDS = 1000  # E.T. Bench lays summaries out on so many seconds; what is later does not count


def interval_overlap(true: Sequence[Interval], predicted: Sequence[Interval]) -> NDArray[np.float32]:
    """IoU of N true and M predicted intervals in single precision, float32 [N, M]; 0 for two equal instants."""
    a = np.asarray(true, dtype=np.float32)[:, None]
    b = np.asarray(predicted, dtype=np.float32)[None]
    both = np.maximum(np.float32(0), np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def first_interval_scores(true: Sequence[Interval], predicted: Sequence[Interval], name: str) -> dict[str, float]:
    """Of the first interval: hits at each threshold, their mean, and the IoU; with several true ones the best counts.

    Args:
        true, predicted: in seconds; `predicted` may be empty.
        name: of the hits, "F1" or "Rec".
    """
    iou = float(interval_overlap(true, predicted[:1]).max()) if predicted else 0.0
    hits = [float(bool(predicted) and iou >= threshold) for threshold in THRESHOLDS]
    return _by_threshold(hits, name) | {"mIoU": iou}


def all_interval_scores(true: Sequence[Interval], predicted: Sequence[Interval]) -> dict[str, float]:
    """F1 at each threshold of all intervals, and its mean; any number of them may match the same one."""
    if not predicted:
        return _by_threshold([0.0] * len(THRESHOLDS), "F1")
    iou = interval_overlap(true, predicted)
    matches = [iou >= np.float32(threshold) for threshold in THRESHOLDS]
    return _by_threshold([f1(m.any(axis=0).mean(), m.any(axis=1).mean()) for m in matches], "F1")


def summary_score(true: Sequence[Interval], predicted: Sequence[Interval]) -> dict[str, float]:
    """F1 of the seconds that two summaries hold; times are rounded to seconds, halves to the even one."""
    wanted, chosen = _seconds(true), _seconds(predicted)
    both = float((wanted & chosen).sum())
    return {"F1": f1(both / chosen.sum(), both / wanted.sum()) if both else 0.0}


def moment_score(true: Sequence[Interval], moment: float | None) -> dict[str, float]:
    """1 if the moment lies in any of the intervals, whoever marked it; their ends count."""
    return {"F1": float(moment is not None and any(start <= moment <= end for start, end in true))}


def option_score(right: int, option: Option | None) -> dict[str, float]:
    """1 for the right option."""
    return {"Acc": float(option is not None and option.index == right)}


def grounded_option_scores(true: Sequence[Interval], right: int, said: GroundedOption | None) -> dict[str, float]:
    """Hits of the first interval that count with the right option only, and whether it is right."""
    accuracy = option_score(right, said.option if said else None)
    intervals = said.intervals if said and accuracy["Acc"] else ()
    return first_interval_scores(true, intervals, "Rec") | accuracy


def sample_scores(row: Row, said: Any | None) -> dict[str, float]:
    """The scores of one sample of a task other than DVC and SLC; `said` is None for a miss."""
    return _SCORERS[row["task"]](row, said)


_SCORERS: Mapping[str, Callable[[Row, Any], dict[str, float]]] = {
    **dict.fromkeys(("rar", "eca", "rvq"), lambda row, said: option_score(row["answer"], said)),
    **dict.fromkeys(("tvg", "epm"), lambda row, said: first_interval_scores(row["intervals"], said or [], "F1")),
    "tal": lambda row, said: all_interval_scores(row["intervals"], said or []),
    "evs": lambda row, said: summary_score(row["intervals"], said or []),
    "vhd": lambda row, said: moment_score(row["intervals"], said),
    "tem": lambda row, said: first_interval_scores(row["intervals"], said or [], "Rec"),
    "gvq": lambda row, said: grounded_option_scores(row["intervals"], row["answer"], said),
}


def f1(precision: float, recall: float) -> float:
    """Their harmonic mean; 0 where both are."""
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _by_threshold(values: Sequence[float], name: str) -> dict[str, float]:
    scores = {f"{name}@{threshold}": value for threshold, value in zip(THRESHOLDS, values, strict=True)}
    return scores | {name: sum(values) / len(values)}


def _seconds(intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    held = np.zeros(MAP_SECONDS, dtype=bool)
    for start, end in intervals:
        held[round(start) : round(end)] = True
    return held
