"""ActivityNet Captions in each of its forms, for dense captioning and for grounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.meteor import FakeMeteor

from timechat.errors import AnnotationError, ConfigError
from timechat.evaluation.benchmarks import dense_captioning as dense_benchmarks
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.activitynet import video_files
from timechat.evaluation.metrics import dense_captioning

RAW = {
    "v_bXdq2zI1Ms0": {
        "duration": 73.1,
        "timestamps": [[0.0, 10.0], [60.0, 20.0]],  # the second one is reversed, as some are
        "sentences": ["Three men are standing. They wait.", " The man throws the ball."],
    },
    "v_abcdefghijk": {"duration": 20.0, "timestamps": [[5, 20]], "sentences": ["A dog runs."]},
}
COCO = {
    "annotations": [
        {
            "image_id": "v_bXdq2zI1Ms0.mp4",
            "duration": 73.1,
            "segments": [[0.0, 10.0], [60.0, 20.0]],
            "pure_cap": "Three men are standing. The man throws the ball.",
        },
        {"image_id": "v_abcdefghijk.mp4", "duration": 20.0, "segments": [[5, 20]], "pure_cap": "A dog runs."},
    ]
}
GROUNDING_ROW = {"image_id": "v_abcdefghijk.mp4", "caption": "A dog runs.", "timestamp": [5, 20], "id": 7}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("content", [RAW, COCO], ids=["raw", "coco"])
def test_one_question_a_sentence(tmp_path: Path, content: Any) -> None:
    anno = write(tmp_path / "val_1.json", content)
    benchmark = get_benchmark("activitynet_grounding")
    questions = benchmark.questions(benchmark.load_annotations(anno), "When does '{query}' happen?")
    assert [(q.id, q.video) for q in questions] == [
        ("v_bXdq2zI1Ms0#0", "v_bXdq2zI1Ms0.mp4"),
        ("v_bXdq2zI1Ms0#1", "v_bXdq2zI1Ms0.mp4"),
        ("v_abcdefghijk#0", "v_abcdefghijk.mp4"),
    ]
    assert questions[1].query == "The man throws the ball."


def test_grounding_scores_and_controls(tmp_path: Path) -> None:
    """IoU 1, then 30/40 of the reversed one, then no answer; durations are those of the annotations."""
    answers = {"v_bXdq2zI1Ms0#0": "From 0.0 to 10.0 seconds.", "v_bXdq2zI1Ms0#1": "From 30.0 to 60.0 seconds."}
    benchmark = get_benchmark("activitynet_grounding")
    result = benchmark.score(answers, benchmark.load_annotations(write(tmp_path / "val_1.json", RAW)))
    assert result.scores["R@1 IoU=0.7"] == pytest.approx(200 / 3)
    assert result.scores["mIoU"] == pytest.approx(175 / 3)
    assert result.unanswered == ["v_abcdefghijk#0"]
    whole = result.controls["table"]["mIoU"]["whole video"]
    assert whole == pytest.approx(100 * (10 / 73.1 + 40 / 73.1 + 15 / 20) / 3)
    assert result.controls["by_queries"]["R@1 IoU=0.5"] == {"1": 0.0, "2": 100.0}


def test_grounding_in_coco_form_keeps_its_ids(tmp_path: Path) -> None:
    benchmark = get_benchmark("activitynet_grounding")
    annotations = benchmark.load_annotations(write(tmp_path / "a.json", {"annotations": [GROUNDING_ROW]}))
    (question,) = benchmark.questions(annotations, "{query}")
    assert (question.id, question.video, question.query) == ("7", "v_abcdefghijk.mp4", "A dog runs.")


@pytest.mark.parametrize("content", [RAW, COCO], ids=["raw", "coco"])
def test_dense_captions(tmp_path: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence list is taken as it is: a full stop within a sentence does not split it."""
    monkeypatch.setattr(dense_benchmarks, "Meteor", FakeMeteor)
    monkeypatch.setattr(dense_captioning, "tokenize", lambda captions: [c.rstrip(".") for c in captions])
    anno = write(tmp_path / "val_1.json", content)
    benchmark = get_benchmark("activitynet_captions")
    annotations = benchmark.load_annotations(anno)
    assert [q.id for q in benchmark.questions(annotations, "Which events?")] == [
        "v_bXdq2zI1Ms0.mp4",
        "v_abcdefghijk.mp4",
    ]
    answers = {
        "v_bXdq2zI1Ms0.mp4": "0.0 - 10.0 seconds, a man stands.  20.0 - 60.0 seconds, The man throws the ball.",
        "v_abcdefghijk.mp4": "nothing",
    }
    result = benchmark.score(answers, annotations)
    assert result.scores["F1"] == pytest.approx(0.5)
    assert result.scores["SODA_c"] == pytest.approx(0.25)
    assert (result.scores["found"], result.scores["parsed"], result.scores["expected"]) == (2, 1, 2)
    assert result.controls["table"]["F1"]["shuffled questions"] == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["activitynet_captions", "activitynet_grounding"])
@pytest.mark.parametrize("file", ["bXdq2zI1Ms0.mkv", "v_bXdq2zI1Ms0.webm", "bXdq2zI1Ms0.mp4"])
def test_videos_under_any_name(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / file).touch()
    prompt = "{query}" if name.endswith("grounding") else "Which events?"
    benchmark = get_benchmark(name)
    annotations = benchmark.load_annotations(write(tmp_path / "a.json", RAW))
    questions = benchmark.questions(annotations, prompt, videos_dir=tmp_path)
    assert questions[0].video == file
    assert questions[-1].video == "v_abcdefghijk.mp4"


def test_names_of_a_video() -> None:
    """A folder stays, an id that begins with v_ itself keeps its own, and the name of the annotations comes first."""
    assert video_files("val/x.avi")[0] == "val/x.avi"
    assert "val/v_abcdefghijk.mkv" in video_files("val/abcdefghijk.webm")
    assert "v_v_cdefghijk.mp4" in video_files("v_cdefghijk.mp4")
    assert "v_cdefghijk.mkv" in video_files("v_v_cdefghijk.mp4")
    assert len(set(video_files("v_abcdefghijk.mp4"))) == len(video_files("v_abcdefghijk.mp4")) == 8


BROKEN = [
    (3, "expected .*found '3'"),
    ([], "holds no annotations"),
    ({}, "holds no annotations"),
    ({"v_a": 3}, "'v_a': expected an object, found '3'"),
    ({"v_a": {"timestamps": [[0, 1]], "sentences": []}}, "'v_a': 0 sentences, but 1 timestamps"),
    ({"v_a": {"timestamps": [[0, 1]]}}, "'v_a': 0 sentences, but 1 timestamps"),
    ({"v_a": {"timestamps": [[0, "x"]], "sentences": ["a"]}}, "'v_a': timestamps\\[0\\]"),
    ({"../a": {"timestamps": [[0, 1]], "sentences": ["a"]}}, "points outside"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
@pytest.mark.parametrize("name", ["activitynet_captions", "activitynet_grounding"])
def test_broken_annotations_name_file_item_and_field(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = write(tmp_path / "a.json", content)
    with pytest.raises(AnnotationError, match=message) as caught:
        get_benchmark(name).read(path)
    assert str(path) in str(caught.value)


def test_a_sentence_without_words_cannot_be_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"v_a": {"timestamps": [[0, 1], [1, 2]], "sentences": ["a", " "]}})
    with pytest.raises(AnnotationError, match="'v_a', sentence 1: caption is ''"):
        get_benchmark("activitynet_grounding").read(path)


def test_questions_chosen_by_id(tmp_path: Path) -> None:
    anno = write(tmp_path / "a.json", RAW)
    benchmark = get_benchmark("activitynet_grounding")
    ids = ["v_abcdefghijk#0", "v_bXdq2zI1Ms0#1"]
    assert [q.id for q in benchmark.questions(benchmark.load_annotations(anno, ids=ids), "{query}")] == ids[::-1]
    assert len(benchmark.load_annotations(anno, ids=ids, limit=1).rows) == 1
    assert benchmark.score({}, benchmark.load_annotations(anno, ids=ids)).scores["expected"] == 2
    with pytest.raises(ConfigError, match=r"1 of the ids are not there \(v_x#0\); correct --ids"):
        benchmark.load_annotations(anno, ids=["v_x#0", *ids])
    with pytest.raises(ConfigError, match="no ids"):
        benchmark.load_annotations(anno, ids=[])
