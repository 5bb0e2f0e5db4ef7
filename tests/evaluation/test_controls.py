"""Controls: parts computed by hand, then those of each temporal benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.meteor import FakeMeteor
from helpers.videos import write_video

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import Benchmark, get_benchmark
from timechat.evaluation.benchmarks import dense_captioning as dense_benchmarks
from timechat.evaluation.controls import central_interval, mean_saliency, standard_error
from timechat.evaluation.durations import video_durations
from timechat.evaluation.metrics import dense_captioning

# Two queries about A; one about each of B, C, D.
CHARADES = """A 0.0 10.0##a person opens a door.
A 10.0 20.0##a person sits down.
B 0.0 10.0##a person drinks.
C 5.0 15.0##a person reads.
D 5.0 15.0##a person sleeps.
"""
# IoU 1, 0.8, 6/14 (hull), no times, and no answer for D.
CHARADES_ANSWERS = {"0": (0, 10), "1": (12, 20), "2": (4, 14), "3": None}
DURATIONS = {"A.mp4": 20.0, "B.mp4": 10.0, "C.mp4": 40.0}


def controls_of(
    benchmark: str | Benchmark,
    answers: dict[str, str],
    anno: Path,
    ids: list[str] | None = None,
    train: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    chosen = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    rows = None if train is None else chosen.read_train(train)
    return chosen.score(answers, chosen.load_annotations(anno, ids=ids), train=rows, **options).controls


def said(interval: tuple[float, float] | None) -> str:
    return "I cannot tell." if interval is None else f"It happens in {interval[0]:.1f} - {interval[1]:.1f} seconds."


def grounding_controls(tmp_path: Path, **options: Any) -> dict[str, Any]:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    answers = {key: said(interval) for key, interval in CHARADES_ANSWERS.items()}
    return controls_of("charades_sta", answers, anno, **options)


def test_standard_error_by_hand() -> None:
    assert standard_error(50.0, 100) == 5.0
    assert standard_error(100.0, 7) == 0.0
    with pytest.raises(ValueError, match="0 percent of 0"):
        standard_error(0.0, 0)


def test_durations_of_files(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 30, fps=10)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = {"a": tmp_path / "a.mp4", "b": tmp_path / "broken.mp4", "c": tmp_path / "nowhere.mp4"}
    assert video_durations(paths) == {"a": pytest.approx(3.0)}


def test_central_interval_has_most_company() -> None:
    """(0, 10) and (0, 6) agree at IoU 0.6; of the two (0, 10) overlaps (8, 20) a little as well."""
    assert central_interval([(8, 20), (0, 6), (0, 10)]) == (0, 10)


def test_central_interval_prefers_hits_to_overlap() -> None:
    """(51, 100) and (61, 100) agree; (0, 100) agrees with nothing, though its mean IoU is higher: .59 and .57."""
    assert central_interval([(0, 100), (0, 49), (61, 100), (51, 100)]) == (51, 100)


def test_mean_saliency_of_videos_of_other_length() -> None:
    assert mean_saliency([np.array([4.0, 2.0]), np.array([2.0])]).tolist() == [3.0, 1.0]


def test_grounding_controls_by_hand(tmp_path: Path) -> None:
    """Whole videos: IoU 0.5, 0.5, 1, 0.25, and D has no duration. Query-blind: all but one query of A. Shuffled: the
    answers of A swapped hit nothing."""
    controls = grounding_controls(tmp_path, durations=DURATIONS)
    assert controls["table"]["R@1 IoU=0.5"] == {
        "whole video": pytest.approx(60.0), "query-blind": pytest.approx(80.0), "shuffled questions": 0.0
    }  # fmt: skip
    assert controls["table"]["R@1 IoU=0.7"]["whole video"] == pytest.approx(20.0)
    assert controls["table"]["mIoU"]["whole video"] == pytest.approx(100 * (0.5 + 0.5 + 1 + 0.25) / 5)
    assert controls["by_queries"] == {"R@1 IoU=0.5": {"1": 0.0, "2": 100.0}}
    assert "--train-anno" in controls["left_out"]["constant answer"]
    assert "1 of 5 are misses because the duration is unknown" in controls["notes"]["whole video"]
    assert "over the 2 of 5 questions" in controls["notes"]["shuffled questions"]
    assert "R@1 IoU=0.5 100.00" in controls["notes"]["shuffled questions"]
    json.dumps(controls)


def test_an_answer_to_everything_survives_the_shuffle(tmp_path: Path) -> None:
    """Both queries of A are answered with the first one's interval: swapping changes nothing, one of two is hit."""
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = controls_of("charades_sta", {"0": said((0, 10)), "1": said((0, 10))}, anno)
    assert controls["table"]["R@1 IoU=0.5"]["shuffled questions"] == 50.0


def test_missing_answers_stay_missing_when_shuffled(tmp_path: Path) -> None:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = controls_of("charades_sta", {"0": said((10, 20))}, anno)
    assert controls["table"]["R@1 IoU=0.5"]["shuffled questions"] == 50.0


def test_shuffling_needs_company(tmp_path: Path) -> None:
    anno = tmp_path / "test.txt"
    anno.write_text(CHARADES)
    controls = controls_of("charades_sta", {"2": said((0, 1))}, anno, ids=["0", "2", "4"])
    assert "two questions about the same video" in controls["left_out"]["shuffled questions"]
    assert "duration" in controls["left_out"]["whole video"]


def test_constant_interval_in_seconds(tmp_path: Path) -> None:
    """(5, 15) hits two train queries of three; in the test split it hits C and D alone."""
    train = tmp_path / "train.txt"
    train.write_text("X 5.0 15.0##one.\nX 6.0 14.0##two.\nY 30.0 31.0##three.\n")
    controls = grounding_controls(tmp_path, train=train)
    assert controls["table"]["R@1 IoU=0.5"]["constant answer"] == pytest.approx(40.0)
    assert controls["table"]["mIoU"]["constant answer"] == pytest.approx(100 * (5 / 15 + 5 / 15 + 5 / 15 + 2) / 5)
    assert controls["notes"]["constant answer"].startswith("5.0 - 15.0 seconds, fitted to 3 queries")


def test_constant_interval_as_shares(tmp_path: Path) -> None:
    """The first half of videos of very different length: no interval in seconds fits, the share fits exactly. Of the
    test split it hits A's first query exactly, half of B, nothing else."""
    train = tmp_path / "train.txt"
    train.write_text("X 0.0 5.0##one.\nY 0.0 50.0##two.\nZ 0.0 500.0##three.\n")
    lengths = DURATIONS | {"X.mp4": 10.0, "Y.mp4": 100.0, "Z.mp4": 1000.0}
    controls = grounding_controls(tmp_path, train=train, durations=lengths)
    assert controls["table"]["mIoU"]["constant answer"] == pytest.approx(100 * (1 + 0 + 0.5 + 10 / 20) / 5)
    assert "from 0.0 to 50.0 percent of the video" in controls["notes"]["constant answer"]
    without = grounding_controls(tmp_path, train=train, durations=DURATIONS)
    assert "seconds" in without["notes"]["constant answer"]


def test_constant_interval_from_training_data(tmp_path: Path) -> None:
    """TimeIT's form, several turns an item; an answer without times names its place."""
    items = [{"video": "x.mp4", "QA": [{"q": "When?", "a": said((5, 15))}, {"q": "When?", "a": said((5, 14))}]}]
    train = tmp_path / "train.json"
    train.write_text(json.dumps(items))
    controls = grounding_controls(tmp_path, train=train)
    assert "fitted to 2 queries" in controls["notes"]["constant answer"]
    items[0]["QA"][1]["a"] = "Nobody knows."
    train.write_text(json.dumps(items))
    with pytest.raises(AnnotationError, match=r"train.json: item 0, QA 1: .*train split of this task only"):
        grounding_controls(tmp_path, train=train)
    train.write_text(json.dumps([items[0] | {"QA": []}, {"video": "x.mp4"}]))
    with pytest.raises(AnnotationError, match='item 1: needs "video" and "QA"'):
        grounding_controls(tmp_path, train=train)


# Dense captions -------------------------------------------------------------------------------------------------------

DENSE = [
    {"image_id": "a.mp4", "duration": 20.0, "segments": [[0, 10], [10, 20]], "captions": ["cut bread", "add ham"]},
    {"image_id": "b.mp4", "duration": 10.0, "segments": [[0, 10]], "captions": ["boil eggs"]},
    {"image_id": "c.mp4", "duration": 40.0, "segments": [[0, 20]], "captions": ["peel eggs"]},
]
DENSE_ANSWERS = {
    "a.mp4": "0.0 - 10.0 seconds, cut bread.  10.0 - 20.0 seconds, add ham.",
    "b.mp4": "0.0 - 20.0 seconds, boil eggs.",
}


@pytest.fixture
def fake_meteor(monkeypatch: pytest.MonkeyPatch) -> list[FakeMeteor]:
    """No Java; what is started is listed."""
    started: list[FakeMeteor] = []
    monkeypatch.setattr(dense_benchmarks, "Meteor", lambda: started.append(FakeMeteor()) or started[-1])
    monkeypatch.setattr(dense_captioning, "tokenize", lambda captions: [c.rstrip(".") or "?" for c in captions])
    return started


def dense_controls(tmp_path: Path, **options: Any) -> dict[str, Any]:
    anno = tmp_path / "test.json"
    anno.write_text(json.dumps({"annotations": DENSE}))
    return controls_of("youcook2", DENSE_ANSWERS, anno, **options)


def test_dense_controls_by_hand(tmp_path: Path, fake_meteor: list[FakeMeteor]) -> None:
    """Whole videos: of a one IoU of 0.5, which is more than 0.3 alone: precision 1/4, recall 1/4 (both events match);
    b is exact; c again 0.5. Shuffled: a gets no answer (c has none), b gets a's, c gets b's, whose time is exact."""
    controls = dense_controls(tmp_path)
    assert controls["table"]["F1"]["whole video"] == pytest.approx(100 * (0.25 + 1 + 0.25) / 3)
    assert "whole video" not in controls["table"]["SODA_c"]
    # b with a's: (0, 10) is exact, (10, 20) misses: precision 0.5, recall 1; c with b's: (0, 20) is exact.
    assert controls["table"]["F1"]["shuffled questions"] == pytest.approx(100 * (2 / 3 + 1) / 3)
    assert controls["table"]["SODA_c"]["shuffled questions"] == 0.0
    assert all("query-blind" not in row for row in controls["table"].values())
    assert "--train-anno" in controls["left_out"]["constant answer"]
    assert controls["notes"]["shuffled questions"] == "the answer to another question of the file"
    assert len(fake_meteor) == 1
    json.dumps(controls)


def test_constant_events(tmp_path: Path, fake_meteor: list[FakeMeteor]) -> None:
    """The train split is cut into halves: as shares this is exact, in seconds it is not. In the test split the halves
    are exact for a, captions too; for b each half overlaps by 0.5 (precision 1/4, recall 1/4); for c one is exact."""
    train = tmp_path / "train.json"
    rows = [
        {"image_id": name, "duration": x, "segments": [[0, x / 2], [x / 2, x]], "captions": ["cut bread", "add ham"]}
        for name, x in (("x.mp4", 10.0), ("y.mp4", 100.0))
    ]
    train.write_text(json.dumps({"annotations": rows}))
    controls = dense_controls(tmp_path, train=train)
    assert controls["table"]["F1"]["constant answer"] == pytest.approx(100 * (1 + 0.25 + 2 / 3) / 3)
    assert controls["table"]["SODA_c"]["constant answer"] == pytest.approx(100 / 3)
    assert controls["notes"]["constant answer"].startswith("0.00 - 0.50, 0.50 - 1.00 shares of the duration")
    assert "F1 100.00 on the train split" in controls["notes"]["constant answer"]


def test_constant_events_from_training_data_are_in_seconds(tmp_path: Path, fake_meteor: list[FakeMeteor]) -> None:
    """TimeIT tells no durations."""
    train = tmp_path / "train.json"
    train.write_text(json.dumps([{"video": "x.mp4", "QA": [{"q": "?", "a": "0.0 - 10.0 seconds, cut bread."}]}]))
    controls = dense_controls(tmp_path, train=train)
    assert controls["notes"]["constant answer"].startswith("0.00 - 10.00 seconds, ")
    # exact for half of a, for b; half of c: more than 0.3 alone
    assert controls["table"]["F1"]["constant answer"] == pytest.approx(100 * (2 / 3 + 1 + 0.25) / 3)


def test_raw_youcook2_holds_its_train_split(tmp_path: Path, fake_meteor: list[FakeMeteor]) -> None:
    def entry(subset: str, end: float) -> dict[str, Any]:
        return {"subset": subset, "duration": end, "annotations": [{"segment": [0, end], "sentence": "cut"}]}

    anno = tmp_path / "raw.json"
    anno.write_text(json.dumps({"database": {"v": entry("validation", 8), "t": entry("training", 50)}}))
    controls = controls_of("youcook2", {}, anno, train=anno)
    assert controls["table"]["F1"]["constant answer"] == pytest.approx(100.0)
    assert "two questions of the file" in controls["left_out"]["shuffled questions"]


# Highlights -----------------------------------------------------------------------------------------------------------


def highlight_row(qid: int, vid: str, saliency: dict[int, int], duration: int = 8) -> dict[str, Any]:
    return {
        "qid": qid, "query": f"query {qid}", "duration": duration, "vid": vid,
        "relevant_clip_ids": list(saliency), "saliency_scores": [[score] * 3 for score in saliency.values()],
    }  # fmt: skip


HIGHLIGHTS = [
    highlight_row(1, "v", {0: 4}), highlight_row(2, "v", {3: 4, 2: 2}), highlight_row(3, "w", {1: 4}),
]  # fmt: skip


def highlight_controls(tmp_path: Path, answers: dict[str, str], **options: Any) -> dict[str, Any]:
    anno = tmp_path / "test.jsonl"
    anno.write_text("".join(json.dumps(row) + "\n" for row in HIGHLIGHTS))
    return controls_of("qvhighlights", answers, anno, **options)


def highlight_said(seconds: float) -> str:
    return f"There are 1 highlight moments in the {seconds} second. Their saliency scores are 4.0."


@pytest.mark.parametrize("rule", ["published", "start"])
def test_highlight_controls_by_hand(tmp_path: Path, rule: str) -> None:
    """Of 4 clips one is right: flat scores earn 1/4, and a hit where it is the first clip (query 1). Query-blind:
    clips 0 and 3 of v lead together, precision 1/2 for either query, and the first of them is query 1's; w is exact.
    """
    anno = tmp_path / "test.jsonl"
    anno.write_text("".join(json.dumps(row) + "\n" for row in HIGHLIGHTS))
    controls = controls_of(get_benchmark("qvhighlights", {"clip_of_time": rule}), {}, anno)
    ap, hit = (controls["table"][f"{name}@VeryGood"] for name in ("mAP", "HIT@1"))
    assert ap["whole video"] == 25.0
    assert hit["whole video"] == pytest.approx(33.33)
    assert ap["query-blind"] == pytest.approx(66.67)
    assert hit["query-blind"] == pytest.approx(66.67)
    assert "1 of 3 queries are the only one of their video" in controls["notes"]["query-blind"]
    assert "--train-anno" in controls["left_out"]["constant answer"]


def test_highlights_shuffled_within_a_video(tmp_path: Path) -> None:
    """Both answers of v are right for the other query: 100 after the swap; the model itself has 1/4 of the truth (the
    right clip ties with two others behind the wrong one: 1/4 of four)."""
    controls = highlight_controls(tmp_path, {"1": highlight_said(7), "2": highlight_said(1), "3": highlight_said(3)})
    assert controls["table"]["mAP@VeryGood/expected"]["shuffled questions"] == 100.0
    assert "over the 2 of 3 questions" in controls["notes"]["shuffled questions"]
    assert "mAP@VeryGood/expected 25.00" in controls["notes"]["shuffled questions"]


def test_questions_without_an_answer_do_not_count_where_the_scores_drop_them(tmp_path: Path) -> None:
    """Query 1 has no answer, so query 2 gets none: the published score is that of query 1, the strict one half."""
    table = highlight_controls(tmp_path, {"2": highlight_said(1)})["table"]
    assert table["mAP@VeryGood"]["shuffled questions"] == 100.0
    assert table["mAP@VeryGood/expected"]["shuffled questions"] == 50.0


def test_constant_highlights_by_relative_time(tmp_path: Path) -> None:
    """The train split likes the second quarter, in a video of 8 clips: clip 1 of 4. Right for w alone."""
    train = tmp_path / "train.jsonl"
    train.write_text(json.dumps(highlight_row(9, "t", {2: 4, 3: 4, 0: 1}, duration=16)) + "\n")
    controls = highlight_controls(tmp_path, {}, train=train)
    assert controls["table"]["HIT@1@VeryGood"]["constant answer"] == pytest.approx(33.33)
    assert "by relative time" in controls["notes"]["constant answer"]


def test_constant_highlights_from_training_data_are_by_seconds(tmp_path: Path) -> None:
    """TimeIT says 2 x clip, whatever rule reads the answers."""
    train = tmp_path / "train.json"
    train.write_text(json.dumps([{"video": "t.mp4", "QA": [{"q": "?", "a": highlight_said(2)}]}]))
    controls = highlight_controls(tmp_path, {}, train=train)
    assert controls["table"]["HIT@1@VeryGood"]["constant answer"] == pytest.approx(33.33)
    assert "by seconds" in controls["notes"]["constant answer"]
