"""Predictions find their questions by id, or by video and question; nothing is lost without being counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.temporal_data import write_charades, write_youcook2

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.matching import Matched, counts_of, match, plain, video_name
from timechat.evaluation.prediction_files import read_predictions


def matched(folder: Path, content: Any, name: str = "charades_sta") -> Matched:
    """Charades: 0 and 1 are about AAAAA, 2 about BBBBB ("a person drinks."), 3 and 4 about CCCCC and DDDDD."""
    benchmark = get_benchmark(name)
    write = {"charades_sta": write_charades, "youcook2": write_youcook2}[name]
    return match(read_predictions(content), benchmark, benchmark.load_annotations(write(folder / "data").anno))


def test_by_id(tmp_path: Path) -> None:
    found = matched(tmp_path, {"0": "a", "2": "b"})
    assert found.answers == {"0": "a", "2": "b"}
    assert (found.by_id, found.by_question, found.left_over, found.doubled) == (2, 0, [], [])


@pytest.mark.parametrize(
    ("video", "query"),
    [
        ("BBBBB.mp4", "a person drinks."),
        ("Charades/videos/BBBBB.mkv", "A person  drinks"),
        ("v_BBBBB", " a person\ndrinks. "),
        ("D:\\videos\\BBBBB.MP4", "'a person drinks'"),
    ],
)
@pytest.mark.parametrize("key", [{}, {"id": "another id"}, {"id": 0}, {"id": 4}])
def test_by_video_and_question(tmp_path: Path, video: str, query: str, key: dict[str, Any]) -> None:
    """Also where the id is that of another question here."""
    found = matched(tmp_path, [key | {"video": video, "query": query, "answer": "x"}])
    assert found.answers == {"2": "x"}
    assert (found.by_id, found.by_question) == (0, 1)


def test_a_question_with_more_words_around_it_keeps_its_id(tmp_path: Path) -> None:
    row = {"id": 2, "query": "When does 'a person drinks.' happen? Answer with seconds.", "answer": "x"}
    assert matched(tmp_path, [row]).by_id == 1


def test_videos_without_a_question_are_found_by_their_name(tmp_path: Path) -> None:
    event = [{"timestamp": [0, 1], "caption": "a"}]
    found = matched(tmp_path, {"v_video_of_10": event, "video_of_20.mp4": event}, "youcook2")
    assert set(found.answers) == {"video_of_10.mp4", "video_of_20.mp4"}
    assert (found.by_id, found.by_question) == (1, 1)


def test_what_fits_no_question_or_several_is_left_over(tmp_path: Path) -> None:
    twice = tmp_path / "twice.json"
    row = {"image_id": "A.mp4", "caption": "runs.", "timestamp": [0, 1]}
    write_json(twice, {"annotations": [row | {"id": number} for number in (1, 2)]})
    benchmark = get_benchmark("charades_sta")
    rows = [
        {"id": 1, "video": "A.mp4", "query": "runs.", "answer": "said"},
        {"video": "A.mp4", "query": "runs.", "answer": "x"},
        {"video": "A.mp4", "query": "sits.", "answer": "x"},
        {"id": 9, "answer": "x"},
        {"id": 2, "video": "B.mp4", "query": "runs.", "answer": "x"},
    ]
    found = match(read_predictions(rows), benchmark, benchmark.load_annotations(twice))
    assert found.answers == {"1": "said"}
    assert found.left_over == [
        "item 1: 2 questions have the video 'A.mp4' and 'runs.' (1, 2); give their ids",
        "item 2: no question has the video 'A.mp4' and 'sits.'",
        "item 3: no question has the id '9'",
        "item 4: id '2' is another question there, and no question has the video 'B.mp4' and 'runs.'",
    ]


def test_of_several_predictions_the_first_counts(tmp_path: Path) -> None:
    rows = [{"id": 2, "answer": "first"}, {"id": 0, "answer": "a"}, {"id": 2, "answer": "second"}]
    found = matched(tmp_path, rows)
    assert found.answers == {"2": "first", "0": "a"}
    assert found.doubled == ["item 2: 2"]
    counts = counts_of(found, read_predictions(rows), 5)
    assert {key: counts[key] for key in ("predictions", "expected", "found", "left_over", "doubled")} == {
        "predictions": 3, "expected": 5, "found": 2, "left_over": 0, "doubled": 1,
    }  # fmt: skip


def test_a_file_for_another_benchmark_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match=r"none of its 1 predictions \(form mapping\) .* called 0, 1, 2, \.\.\."):
        matched(tmp_path, {"xHr8X2Wpmno.mp4": "a"})


def test_a_form_that_the_benchmark_does_not_score_is_an_error(tmp_path: Path) -> None:
    row = {"qid": 0, "pred_saliency_scores": [1.0, 2.0]}
    with pytest.raises(PredictionError, match="item 0: holds clip scores; charades_sta scores text, intervals"):
        matched(tmp_path, [row])
    both = matched(tmp_path / "both", [row | {"pred_relevant_windows": [[0, 5, 0.5]]}])
    assert both.answers["0"].intervals == ((0.0, 5.0),)  # type: ignore[union-attr]


def test_names() -> None:
    assert video_name("a/v_NUsG9BgSes0_210.0_360.0.mp4") == "NUsG9BgSes0_210.0_360.0"
    assert video_name("NUsG9BgSes0_210.0_360.0") == "NUsG9BgSes0_210.0_360.0"
    assert plain("  Who\n is IT?") == "who is it"
