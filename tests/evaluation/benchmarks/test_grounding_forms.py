"""Rows of grounding under the names that data sets give their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json, write_parquet

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

ROWS = [
    {"video": "3MSZA.mp4", "caption": "person turn a light on.", "timestamp": [24.3, 30.4]},
    {"vid": "AO8RW", "query": "a door opens", "relevant_windows": [[1, 2]], "qid": "q7", "duration": 30.0},
]


@pytest.mark.parametrize("name", ["charades_sta", "activitynet_grounding"])
def test_rows_of_any_names(tmp_path: Path, name: str) -> None:
    """Without an id, the id is the number of the row."""
    assert get_benchmark(name).read(write_json(tmp_path / "a.json", ROWS)) == [
        {"image_id": "3MSZA.mp4", "caption": "person turn a light on.", "timestamp": [24.3, 30.4], "id": 0},
        {"image_id": "AO8RW.mp4", "caption": "a door opens", "timestamp": [1, 2], "id": "q7", "duration": 30.0},
    ]


def test_rows_as_parquet_are_train_annotations_too(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "video": video} for video in ("a.mp4", "b.mp4")]
    path = write_parquet(tmp_path / "train.parquet", rows)
    assert [row["id"] for row in get_benchmark("charades_sta").read_train(path)] == [0, 1]
    assert [row["id"] for row in get_benchmark("charades_sta").read_train(write_json(tmp_path / "a.json", rows))] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROWS[0], "timestamp": [[1, 2], [3, 4]]}, r"row 0: timestamp is \[\[1, 2\], \[3, 4\]\]"),
        ({**ROWS[0], "video": "../x.mp4"}, "points outside"),
        ({"caption": "x", "timestamp": [1, 2]}, "row 0: image_id is None"),
        ("x", "row 0: expected an object"),
    ],
)
def test_broken_rows_name_the_field(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        get_benchmark("charades_sta").read(write_json(tmp_path / "a.json", [row]))
