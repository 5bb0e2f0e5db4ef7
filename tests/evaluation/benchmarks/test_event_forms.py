"""Videos with events in each form in which YouCook2 and ActivityNet Captions are offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json, write_parquet

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.dense_captioning import true_events

TIMES, TEXTS = [[6.94, 69.08], [43.13, 55.55]], ["Three men are standing on a mat.", "He gets down on the ground."]
EVENTS = [(start, end, text) for (start, end), text in zip(TIMES, TEXTS, strict=True)]
PDVC = {"v_bXdq2zI1Ms0": {"duration": 73.1, "timestamps": TIMES, "sentences": TEXTS}}
FORMS: dict[str, Any] = {
    "pdvc": PDVC,
    "coco of activitynet": {
        "annotations": [
            {"image_id": "v_bXdq2zI1Ms0.mp4", "caption": " ".join(TEXTS), "segments": TIMES, "duration": 73.1, "id": 1}
        ]
    },
    "rows": [{"video_id": "v_bXdq2zI1Ms0", **PDVC["v_bXdq2zI1Ms0"]}],
    "rows of starts and ends": [
        {
            "video_id": "v_bXdq2zI1Ms0",
            "video_path": "v_bXdq2zI1Ms0.mp4",
            "duration": 73.1,
            "captions_starts": [start for start, _ in TIMES],
            "captions_ends": [end for _, end in TIMES],
            "en_captions": TEXTS,
        }
    ],
    "rows of events": [
        {"youtube_id": "v_bXdq2zI1Ms0", "video_path": "val/101/v_bXdq2zI1Ms0.mp4", "segment": time, "sentence": text}
        for time, text in zip(TIMES, TEXTS, strict=True)
    ],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["youcook2", "activitynet_captions"])
def test_every_form_has_the_same_events(tmp_path: Path, name: str, form: str) -> None:
    """ActivityNet's coco rows have caption, joined by a full stop and a blank, where YouCook2's have pure_cap."""
    benchmark = get_benchmark(name)
    (row,) = benchmark.read(write_json(tmp_path / "a.json", FORMS[form]))
    assert benchmark.row_id(row) == "v_bXdq2zI1Ms0.mp4"
    assert [(start, end, text.rstrip(".")) for start, end, text in true_events(row)] == [
        (start, end, text.rstrip(".")) for start, end, text in EVENTS
    ]
    assert row.get("duration") == (None if form == "rows of events" else 73.1)


@pytest.mark.parametrize("form", ["pdvc", "coco of activitynet", "rows of starts and ends"])
def test_grounding_asks_for_each_sentence(tmp_path: Path, form: str) -> None:
    benchmark = get_benchmark("activitynet_grounding")
    rows = benchmark.read(write_json(tmp_path / "a.json", FORMS[form]))
    assert [(row["id"], row["timestamp"]) for row in rows] == [
        ("v_bXdq2zI1Ms0#0", TIMES[0]),
        ("v_bXdq2zI1Ms0#1", TIMES[1]),
    ]


def test_pure_cap_wins_over_a_caption_with_time_tokens(tmp_path: Path) -> None:
    row = {"image_id": "a.mp4", "segments": [[1, 2]], "pure_cap": "cut the bread.", "caption": "<time_token_2> cut"}
    (read,) = get_benchmark("youcook2").read(write_json(tmp_path / "a.json", {"annotations": [row]}))
    assert true_events(read) == [(1, 2, "cut the bread.")]


def test_events_as_parquet_and_where_their_videos_are(tmp_path: Path) -> None:
    (tmp_path / "val" / "101").mkdir(parents=True)
    (tmp_path / "val" / "101" / "v_bXdq2zI1Ms0.mkv").touch()
    benchmark = get_benchmark("youcook2")
    annotations = benchmark.load_annotations(write_parquet(tmp_path / "val.parquet", FORMS["rows of events"]))
    (question,) = benchmark.questions(annotations, "Which events?", videos_dir=tmp_path)
    assert (question.id, question.video) == ("v_bXdq2zI1Ms0.mp4", "val/101/v_bXdq2zI1Ms0.mkv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"sentence": "cut"}], "row 0: image_id is None"),
        (["x"], "row 0: expected an object"),
        (
            [{"video_id": "a", "captions_starts": [1, 2], "captions_ends": [3], "en_captions": ["x"]}],
            "row 0: timestamps",
        ),
        ([{"youtube_id": "a", "segment": [1], "sentence": "cut"}], r"row 0: timestamps\[0\] is \[1\]"),
        ({"annotations": [{"image_id": "a.mp4", "segments": [[1, 2]]}]}, "pure_cap is None"),
    ],
)
def test_broken_rows_name_the_field(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        get_benchmark("youcook2").read(write_json(tmp_path / "a.json", content))
