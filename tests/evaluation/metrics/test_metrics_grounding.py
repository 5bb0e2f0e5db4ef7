"""Grounding scores: the published numbers, hand-computed cases and errors."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics import score_grounding
from timechat.evaluation.metrics.intervals import grounding_iou, interval_iou

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"


def golden(name: str) -> dict:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))


def truth(*intervals: list[float]) -> dict:
    return {"annotations": [{"id": i, "timestamp": list(x)} for i, x in enumerate(intervals)]}


def test_published_numbers() -> None:
    scores = score_grounding(golden("tvg_pred.json"), golden("tvg_gt.json"))
    assert scores["R@1 IoU=0.3"] == 8.982035928143713
    assert scores["R@1 IoU=0.5"] == 3.592814371257485
    assert scores["R@1 IoU=0.7"] == 0.5988023952095808
    assert (scores["found"], scores["parsed"], scores["expected"]) == (167.0, 75.0, 167.0)


def test_order_of_queries_does_not_matter() -> None:
    predictions, ground_truth = golden("tvg_pred.json"), golden("tvg_gt.json")
    before = score_grounding(predictions, ground_truth)
    items = list(predictions.items())
    random.Random(0).shuffle(items)
    random.Random(1).shuffle(ground_truth["annotations"])
    assert score_grounding(dict(items), ground_truth) == pytest.approx(before)


def test_by_hand() -> None:
    """IoU 0.5 exactly (a hit at 0.5), a disjoint one, and only the first interval counts."""
    predictions = {"0": {"timestamp": [[0, 5]]}, "1": {"timestamp": [[20, 30], [0, 10]]}}
    scores = score_grounding(predictions, truth([0, 10], [0, 10]))
    assert [scores[f"R@1 IoU={t}"] for t in (0.3, 0.5, 0.7)] == [50.0, 50.0, 0.0]
    assert scores["mIoU"] == pytest.approx(25.0)


def test_missing_and_unparsed_answers_are_misses() -> None:
    scores = score_grounding({"0": {"timestamp": [[0, 10]]}, "1": {"timestamp": []}}, truth([0, 10], [0, 10], [0, 10]))
    assert scores["mIoU"] == pytest.approx(100 / 3)
    assert (scores["found"], scores["parsed"], scores["expected"]) == (2.0, 1.0, 3.0)


def test_no_predictions_score_zero() -> None:
    scores = score_grounding({}, truth([0, 10]))
    assert scores["R@1 IoU=0.3"] == scores["mIoU"] == scores["found"] == 0.0


def test_reversed_interval_is_swapped() -> None:
    assert score_grounding({"0": {"timestamp": [[10, 0]]}}, truth([0, 10]))["mIoU"] == 100.0


def test_iou_by_hand() -> None:
    iou = grounding_iou([(0, 10), (4, 4)], [(5, 20), (10, 12), (4, 4)])
    assert iou[0].tolist() == [0.25, 0.0, 0.0]
    assert iou[1].tolist() == [0.0, 0.0, 1.0]


def test_a_threshold_is_reached_by_grounding_alone() -> None:
    """The published scorer of dense captions adds 1e-8 to the union, that of grounding does not."""
    exactly = [(0, 5)], [(0, 10)]
    assert grounding_iou(*exactly)[0, 0] == 0.5
    assert 0.5 - 1e-8 < interval_iou(*exactly)[0, 0] < 0.5
    assert interval_iou([(20.7, 21.6)], [(20, 23)])[0, 0] < 0.3
    assert interval_iou([(4, 4)], [(4, 4)])[0, 0] == 0.0
    assert score_grounding({"0": {"timestamp": [[0, 5]]}}, truth([0, 10]))["R@1 IoU=0.5"] == 100.0


def test_unknown_id_is_named() -> None:
    with pytest.raises(PredictionError, match="'77'"):
        score_grounding({"77": {"timestamp": [[0, 1]]}}, truth([0, 10]))


@pytest.mark.parametrize("interval", [[float("nan"), 1], [0, float("inf")], [-1, 2], [1], "ab", None, 3])
def test_broken_interval_is_an_error(interval: object) -> None:
    with pytest.raises(PredictionError, match=r"predictions\['0'\]"):
        score_grounding({"0": {"timestamp": [interval]}}, truth([0, 10]))
    with pytest.raises(AnnotationError, match=r"annotations\[0\]"):
        score_grounding({}, {"annotations": [{"id": 0, "timestamp": interval}]})


def test_entry_without_timestamp_is_an_error() -> None:
    with pytest.raises(PredictionError, match="timestamp"):
        score_grounding({"0": {}}, truth([0, 10]))


@pytest.mark.parametrize(
    ("ground_truth", "said"),
    [
        ({}, "annotations"),
        ({"annotations": []}, "empty"),
        ({"annotations": [{"id": 1}]}, "timestamp"),
        ({"annotations": [{"id": 1, "timestamp": [0, 1]}] * 2}, "twice"),
    ],
)
def test_broken_ground_truth_is_an_error(ground_truth: dict, said: str) -> None:
    with pytest.raises(AnnotationError, match=said):
        score_grounding({}, ground_truth)
