"""Grounded question answering: is the option right, and is the part of the video that shows it?

IoU and IoP (the intersection as a share of the *predicted* part) follow NExT-GQA's script: of several true moments the
best counts, for each of the two by itself; a prediction of no length has IoU 0, and IoP 1 inside a true moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Interval = tuple[float, float]

THRESHOLDS = (0.3, 0.5)


def overlaps(predicted: Interval, moments: Sequence[Interval]) -> tuple[float, float]:
    """Best IoU and best IoP of an interval with the true moments, 0 to 1; times in seconds, start <= end."""
    pairs = [_overlap(predicted, moment) for moment in moments]
    return max(iou for iou, _ in pairs), max(iop for _, iop in pairs)


def _overlap(predicted: Interval, moment: Interval) -> tuple[float, float]:
    length = predicted[1] - predicted[0]
    if length == 0:
        return 0.0, float(moment[0] <= predicted[0] <= moment[1])
    common = max(0.0, min(predicted[1], moment[1]) - max(predicted[0], moment[0]))
    return common / (max(predicted[1], moment[1]) - min(predicted[0], moment[0])), common / length


def score_grounded_answers(right: Mapping[str, bool], shown: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Scores over questions, in percent; a missing answer is wrong (False) or shows nothing (0, 0).

    Args:
        right: question -> whether the option is right, of all questions whose option was asked for.
        shown: question -> IoU and IoP of the part, of all questions whose part was asked for.

    Returns:
        "accuracy"; "mIoU", "IoU@0.3", "IoU@0.5"; "mIoP", "IoP@0.3", "IoP@0.5"; and of the questions in both, "Acc@IoU"
        and "Acc@IoP": a right option with an IoU (IoP) of 0.5 or more. What there are no questions for is not there.
    """
    scores: dict[str, float] = {}
    if right:
        scores["accuracy"] = _percent(list(right.values()))
    for index, name in enumerate(("IoU", "IoP")) if shown else ():
        values = {key: pair[index] for key, pair in shown.items()}
        scores[f"m{name}"] = 100.0 * sum(values.values()) / len(values)
        for threshold in THRESHOLDS:
            scores[f"{name}@{threshold}"] = _percent([value >= threshold for value in values.values()])
        both = [right[key] and value >= THRESHOLDS[-1] for key, value in values.items() if key in right]
        if both:
            scores[f"Acc@{name}"] = _percent(both)
    return scores


def _percent(hits: Sequence[bool]) -> float:
    return 100.0 * sum(hits) / len(hits)
