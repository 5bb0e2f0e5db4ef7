"""Highlight scores: the published numbers, hand-computed cases and errors."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics import highlight_scores, score_highlights
from timechat.evaluation.metrics.highlights import average_precision

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"
ROW = {"qid": 1, "duration": 8, "relevant_clip_ids": [1, 2], "saliency_scores": [[4, 2, 0], [3, 3, 3]]}


def golden() -> tuple[list[dict], list[dict]]:
    predictions, rows = (
        gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()).decode() for name in ("vhd_pred.json", "vhd_gt.jsonl")
    )
    return json.loads(predictions), [json.loads(line) for line in rows.splitlines()]


def predicted(*scores: float, qid: int = 1) -> dict:
    return {"qid": qid, "pred_saliency_scores": list(scores)}


def test_published_numbers() -> None:
    scores = score_highlights(*golden())
    for level in ("Fair", "Good", "VeryGood"):
        published = json.loads((GOLDEN / "vhd_metrics.json").read_text())[f"HL-min-{level}"]
        assert scores[f"mAP@{level}"] == published["HL-mAP"]
        assert scores[f"HIT@1@{level}"] == published["HL-Hit1"]
    assert (scores["found"], scores["expected"]) == (292.0, 310.0)


def test_missing_queries_are_misses_over_expected() -> None:
    rows = [ROW, ROW | {"qid": 2}]
    scores = score_highlights([predicted(0, 1, 0.5, 0)], rows)
    assert scores["HIT@1@Fair"] == 100.0
    assert scores["HIT@1@Fair/expected"] == 50.0
    assert scores["mAP@Good/expected"] == pytest.approx(scores["mAP@Good"] / 2, abs=0.01)


def test_order_of_queries_does_not_matter() -> None:
    predictions, rows = golden()
    before = score_highlights(predictions, rows)
    random.Random(0).shuffle(predictions)
    random.Random(1).shuffle(rows)
    assert score_highlights(predictions, rows) == before


def test_by_hand() -> None:
    """Clip 1 (rated 4, 2, 0) comes first, clip 2 (3, 3, 3) second: AP per annotator 1, 1/2, 1/2 at Good."""
    scores = score_highlights([predicted(0, 1, 0.5, 0)], [ROW])
    assert scores["mAP@Good"] == 66.67
    assert scores["mAP@VeryGood"] == 33.33
    assert scores["HIT@1@VeryGood"] == 100.0


@pytest.mark.parametrize(
    ("positive", "scores", "expected"),
    [
        ([1, 0, 0], [3, 2, 1], 1.0),
        ([0, 1, 0], [3, 2, 1], 1 / 2),
        ([1, 0, 1], [3, 2, 1], (1 + 2 / 3) / 2),
        ([1, 1, 0], [0, 0, 0], 2 / 3),  # one recall level only: all clips are tied
        ([0, 1, 1], [3, 2, 1], 2 / 3),  # interpolated: precision at the first positive rises to 2/3
        ([1, 1], [0, 1], 1.0),
        ([0, 0], [0, 1], 0.0),
    ],
)
def test_average_precision_by_hand(positive: list[int], scores: list[float], expected: float) -> None:
    assert average_precision(np.array(positive, dtype=bool), np.array(scores, dtype=float)) == pytest.approx(expected)


def test_other_lengths_are_filled_or_cut_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    short, long = (score_highlights([predicted(*x)], [ROW]) for x in ([0, 1, 0.5], [0, 1, 0.5, 0, 0, 0]))
    assert short == long == score_highlights([predicted(0, 1, 0.5, 0)], [ROW])
    assert "1 of 1 predictions" in caplog.text


def test_best_clip_behind_the_end_is_no_hit() -> None:
    assert score_highlights([predicted(0, 1, 0, 0, 9)], [ROW])["HIT@1@Fair"] == 0.0


def test_no_predictions_score_zero() -> None:
    assert set(score_highlights([], [ROW]).values()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ([predicted(0, qid=9)], "9"),
        ([predicted(1), predicted(1)], "twice"),
        ([predicted(float("nan"))], "finite"),
        ([predicted("high")], "finite"),
        ([{"qid": 1}], "pred_saliency_scores"),
        ([{"qid": 1, "pred_saliency_scores": []}], "one number per clip"),
    ],
)
def test_broken_predictions_are_errors(predictions: list[dict], said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        score_highlights(predictions, [ROW])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows"),
        ([{k: v for k, v in ROW.items() if k != "saliency_scores"}], "labelled"),
        ([ROW, ROW], "twice"),
        ([ROW | {"relevant_clip_ids": [1]}], "saliency_scores"),
        ([ROW | {"relevant_clip_ids": [1, 4]}], r"0\.\.3"),
        ([ROW | {"saliency_scores": [[1, 2], [1]]}], "ratings"),
    ],
)
def test_broken_ground_truth_is_an_error(rows: list[dict], said: str) -> None:
    with pytest.raises(AnnotationError, match=said):
        score_highlights([], rows)


def test_clips_of_times() -> None:
    """Published rule int((t - 1) / 2); the mean of a clip's scores; what is said behind the end is dropped."""
    assert highlight_scores([(0.0, 1.0), (2.0, 2.0), (3.0, 3.0), (99.0, 4.0)], 8.0) == [1.5, 3.0, 0.0, 0.0]
    assert highlight_scores([(3.0, 3.0), (4.0, 1.0)], 8.0) == [0.0, 2.0, 0.0, 0.0]
    assert highlight_scores([(3.0, 3.0), (4.0, 1.0)], 8.0) == highlight_scores([(4.0, 1.0), (3.0, 3.0)], 8.0)
    assert highlight_scores([(4.0, 1.5)], 9.9, clip_of_time=lambda t: int(t / 2)) == [0.0, 0.0, 1.5, 0.0]


def test_the_end_of_a_video() -> None:
    """8.0 is its last second; 9.5 lies behind the last whole clip of a video of 9.9 seconds, and 10 behind its end."""
    assert highlight_scores([(8.0, 2.0), (8.1, 4.0)], 8.0) == [0.0, 0.0, 0.0, 2.0]
    assert highlight_scores([(9.5, 2.0), (10.0, 4.0)], 9.9) == [0.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize(("highlights", "duration"), [([], 1.0), ([(float("nan"), 1.0)], 8.0)])
def test_clips_of_broken_input(highlights: list, duration: float) -> None:
    with pytest.raises(ValueError, match=r"shorter|finite"):
        highlight_scores(highlights, duration)
