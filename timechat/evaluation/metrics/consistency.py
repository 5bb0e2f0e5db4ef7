"""Consistency of temporal grounding by the rules of Jung et al. (CVPR 2025): shares of the queries that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GROUND, REPHRASED, SHIFTED, VERIFY, COMPOSE = "ground", "rephrased", "shifted", "verify", "compose"
HIT_IOU = 0.5
THRESHOLDS = (0.3, 0.5, 0.7)

# What is asked -> the score. Of moved videos only those that were answered count: the authors' script skips the others.
_PROBES = {REPHRASED: "R-Ground", SHIFTED: "S-Ground", VERIFY: "H-Verify", COMPOSE: "C-Verify"}


@dataclass(frozen=True)
class Probe:
    """One question.

    Attributes:
        asks: GROUND, REPHRASED, SHIFTED, VERIFY or COMPOSE.
        value: IoU with the right moment; of verification 1 for the right answer, else 0.
        answered: whether there is an answer.
    """

    asks: str
    value: float
    answered: bool


def published_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """IoU of two intervals over their hull, rounded to two digits as the authors do; 0 where both are one instant."""
    hull = max(first[1], second[1]) - min(first[0], second[0])
    common = min(first[1], second[1]) - max(first[0], second[0])
    return round(max(common, 0.0) / hull, 2) if hull > 0 else 0.0


def score_consistency(probes: Sequence[Probe]) -> dict[str, float]:
    """Scores in percent.

    Args:
        probes: the queries (GROUND), and what was asked about those of them that were found.

    Returns:
        "Ground", which is R@1 at IoU 0.5 of the queries, and "R@1 IoU=0.3", "R@1 IoU=0.7", "mIoU"; "R-Ground",
        "S-Ground", "H-Verify", "C-Verify", each a share of what was asked, "NAME (relative)", times Ground. "S-Ground"
        is not there if queries were found, but no moved video was answered; without queries nothing is there.
    """
    queries = [probe.value for probe in probes if probe.asks == GROUND]
    if not queries:
        return {}
    scores = {f"R@1 IoU={threshold}": _share(queries, threshold) for threshold in THRESHOLDS}
    ground = scores.pop(f"R@1 IoU={HIT_IOU}")
    scores |= {"Ground": ground, "mIoU": 100.0 * sum(queries) / len(queries)}
    for asks, name in _PROBES.items():
        asked = [probe for probe in probes if probe.asks == asks]
        values = [probe.value for probe in asked if probe.answered or asks != SHIFTED]
        if asked and not values:
            continue
        scores[f"{name} (relative)"] = _share(values, HIT_IOU) if values else 0.0
        scores[name] = scores[f"{name} (relative)"] * ground / 100.0
    return scores


def _share(values: Sequence[float], threshold: float) -> float:
    return 100.0 * sum(value >= threshold for value in values) / len(values)
