"""Predictions that are no text reach the metric as they are, and every question's share adds up to the scores."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_egoschema, write_mvbench, write_tempcompass, write_video_mme
from helpers.meteor import FakeMeteor
from helpers.temporal_data import write_activitynet, write_charades, write_qvhighlights, write_youcook2

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import Result, dense_captioning, get_benchmark
from timechat.evaluation.benchmarks.structured import Choice, Events, Saliency, Windows
from timechat.evaluation.metrics import dense_captioning as dense_metrics

WRITERS = {
    "charades_sta": write_charades, "youcook2": write_youcook2, "activitynet_captions": write_activitynet,
    "activitynet_grounding": write_activitynet, "qvhighlights": write_qvhighlights, "mvbench": write_mvbench,
    "tempcompass": write_tempcompass, "egoschema": write_egoschema, "video_mme": write_video_mme,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_captioning, "Meteor", FakeMeteor)
    monkeypatch.setattr(dense_metrics, "tokenize", lambda captions: [c.rstrip(".") for c in captions])


def scored(name: str, folder: Path, answers: Mapping[str, Any]) -> Result:
    benchmark = get_benchmark(name)
    return benchmark.score(answers, benchmark.load_annotations(WRITERS[name](folder / name).anno))


def test_windows_are_intervals_of_an_answer(tmp_path: Path) -> None:
    """The first one counts, and a number is not rounded on its way: IoU 10/10 and 6.25/10, of five queries."""
    given = {"0": Windows(((0.0, 10.0), (3.0, 4.0))), "2": Windows(((1.125, 7.375),))}
    assert scored("charades_sta", tmp_path, given).scores["mIoU"] == pytest.approx(100 * (1 + 0.625) / 5)


def test_clip_scores_are_those_of_the_file(tmp_path: Path) -> None:
    """Of five clips the second is very good: first by its score, and only by that; negative scores are scores."""
    result = scored("qvhighlights", tmp_path, {"1": Saliency((-3.0, -1.0, -2.0, -9.5, -4.0))})
    assert result.predictions[0]["pred_saliency_scores"] == [-3.0, -1.0, -2.0, -9.5, -4.0]
    assert result.scores["mAP@VeryGood"] == result.scores["HIT@1@VeryGood"] == 100.0
    assert result.scores["HIT@1@VeryGood/expected"] == 25.0
    short = scored("qvhighlights", tmp_path / "short", {"1": Saliency((0.5, 1.5))})
    assert short.examples[0].predicted_saliency == [0.5, 1.5, 0.0, 0.0, 0.0]


def test_events_are_those_of_the_file(tmp_path: Path) -> None:
    given = {"video_of_10.mp4": Events(((0.0, 10.0, "boil the eggs in water"),))}
    result = scored("youcook2", tmp_path, given)
    assert result.scores["F1"] == 1 / 4
    assert result.predictions["video_of_10.mp4"][0]["caption"] == "boil the eggs in water"


def test_an_option_by_its_number(tmp_path: Path) -> None:
    given = {"long-2": Choice(3), "medium-1": Choice(-1)}
    result = scored("video_mme", tmp_path, given)
    assert [failure.reason for failure in result.failures] == ["no option has the number -1"]
    assert result.predictions["long-2"]["answer"] == "D"


@pytest.mark.parametrize(("name", "key"), [("charades_sta", "0"), ("tempcompass", "yes_no/v2/speed/0")])
def test_a_form_that_is_not_scored_is_an_error(tmp_path: Path, name: str, key: str) -> None:
    with pytest.raises(PredictionError, match=f"answer {key} holds option numbers; {name} scores text"):
        scored(name, tmp_path, {key: Choice(1)})


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("charades_sta", {"0": "0 - 10 seconds", "1": "12 - 20 seconds", "2": "4 - 14 seconds", "3": "I cannot tell."}),
        ("qvhighlights", {"1": "There is 1 highlight moment in the 4 second. Its saliency score is 3.0.", "3": "No."}),
        ("youcook2", {"video_of_10.mp4": "0 - 5 seconds, boil the eggs in water.", "video_of_30.mp4": "Cooking."}),
        ("activitynet_captions", {"v_video_of_20.mp4": "1 - 9 seconds, cut the bread in half."}),
        ("activitynet_grounding", {"v_video_of_10#0": "0 - 6 seconds"}),
        ("mvbench", {"action_count/0": "(A)", "moving_count/0": "(B)"}),
        ("tempcompass", {"yes_no/v2/speed/0": "yes", "multi-choice/v1/action/0": "?"}),
        ("video_mme", {"long-2": "D"}),
    ],
)
def test_shares_of_questions_have_the_scores_as_their_mean(tmp_path: Path, name: str, answers: dict[str, str]) -> None:
    known = get_benchmark(name)
    rows = known.load_annotations(WRITERS[name](tmp_path / "read").anno).rows
    assert answers.keys() <= set(map(known.row_id, rows))
    result = scored(name, tmp_path, answers)
    checked = [score for score in known.main_scores if score in result.scores and score != "average of tasks"]
    assert checked
    for score in checked:
        assert statistics.fmean(result.shares[score].values()) == pytest.approx(result.scores[score], abs=0.006)


def test_questions_without_a_public_answer_have_no_share(tmp_path: Path) -> None:
    result = scored("egoschema", tmp_path, {"00000000-aaaa": Choice(0)})
    assert len(result.shares["accuracy"]) == result.scores["expected"] == 3
    assert statistics.fmean(result.shares["accuracy"].values()) == pytest.approx(result.scores["accuracy"])
