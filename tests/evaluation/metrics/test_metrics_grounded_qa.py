"""IoU and IoP by NExT-GQA's rule, and scores of both answers together; recall of the first intervals by Ego4D's."""

from __future__ import annotations

import pytest

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics.grounded_qa import overlaps, score_grounded_answers
from timechat.evaluation.metrics.grounding import score_recall


@pytest.mark.parametrize(
    ("predicted", "moments", "expected"),
    [
        ((0, 8), [(0, 10)], (0.8, 1.0)),
        ((0, 10), [(5, 15)], (5 / 15, 0.5)),
        ((0, 10), [(20, 30)], (0.0, 0.0)),
        # the best of each: IoU 2/10 with the first (by the hull), IoP 0.5 with the second
        ((0, 10), [(8, 10), (5, 40)], (0.2, 0.5)),
        ((7, 7), [(5, 15)], (0.0, 1.0)),
        ((7, 7), [(7, 7)], (0.0, 1.0)),
        ((4, 4), [(5, 15)], (0.0, 0.0)),
        ((4, 6), [(5, 5)], (0.0, 0.0)),
    ],
)
def test_overlaps(predicted: tuple[float, float], moments: list[tuple[float, float]], expected: float) -> None:
    assert overlaps(predicted, moments) == pytest.approx(expected)


def test_scores_of_both_answers() -> None:
    """Thresholds are reached at 0.5; joint scores are over the questions that have both."""
    scores = score_grounded_answers(
        {"a": True, "b": True, "c": False, "d": True}, {"a": (0.5, 0.4), "b": (0.2, 0.5), "c": (0.3, 0.3)}
    )
    assert scores == pytest.approx(
        {"accuracy": 75, "mIoU": 100 / 3, "IoU@0.3": 200 / 3, "IoU@0.5": 100 / 3, "Acc@IoU": 100 / 3}
        | {"mIoP": 40, "IoP@0.3": 100, "IoP@0.5": 100 / 3, "Acc@IoP": 100 / 3}
    )
    assert score_grounded_answers({"a": True}, {}) == {"accuracy": 100.0}
    assert score_grounded_answers({}, {}) == {}


def test_recall_of_the_first_intervals() -> None:
    truth = {"a": (0.0, 10.0), "b": (0.0, 10.0), "c": (0.0, 10.0)}
    predictions = {"a": [[20, 30], [0, 10]], "b": [[5, 0]], "c": []}
    assert score_recall(predictions, truth, thresholds=(0.3, 0.5), ranks=(1, 2)) == pytest.approx(
        {"R@1 IoU=0.3": 100 / 3, "R@1 IoU=0.5": 0, "R@2 IoU=0.3": 200 / 3, "R@2 IoU=0.5": 100 / 3}
        | {"mIoU": 50 / 3, "found": 3, "parsed": 2, "expected": 3}
    )
    with pytest.raises(PredictionError, match="'x'"):
        score_recall({"x": []}, truth, thresholds=(0.3,), ranks=(1,))
    with pytest.raises(AnnotationError, match="no queries"):
        score_recall({}, {}, thresholds=(0.3,), ranks=(1,))
