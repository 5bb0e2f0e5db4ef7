"""ReXTime: videos of two data sets, scores of both halves, and the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.moment_data import write_rextime

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark

BENCHMARK = get_benchmark("rextime")
ANSWERS = {
    "anet_val0/option": "(A)", "anet_val0/moment": "0.0 - 8.0 seconds",
    "anet_val1/option": "(B)", "anet_val1/moment": "2 - 12 seconds",
    "anet_val2/option": "(A)", "anet_val2/moment": "It is not shown.",
}  # fmt: skip


def test_scores_and_submission(tmp_path: Path) -> None:
    """IoU 0.8; 2/18; unparsable; missing. The first question alone is right and shown."""
    data = write_rextime(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    videos = [q.video for q in BENCHMARK.questions(annotations, "{query}", videos_dir=data.videos)]
    assert videos[1:3] == ["qvhighlights/clip0_0.0_20.0.mp4", "activitynet/v_abcdefghij1.mp4"]
    result = BENCHMARK.score(ANSWERS, annotations)
    assert result.scores == pytest.approx(
        {"accuracy": 50, "mIoU": 25 * (0.8 + 2 / 18), "R@1 IoU=0.3": 25, "R@1 IoU=0.5": 25, "Acc@IoU=0.5": 25}
        | {"found": 6, "parsed": 5, "expected": 8}
    )
    lines = [json.loads(line) for line in result.files["rextime_submission.jsonl"].splitlines()]
    assert lines[1:3] == [
        {"qid": "anet_val1", "pred_relevant_windows": [[2.0, 12.0]], "ans": "B"},
        {"qid": "anet_val2", "pred_relevant_windows": [[0.0, 20.0]], "ans": "A"},
    ]
    assert lines[3]["ans"] == ""


def test_train_annotations_are_moments(tmp_path: Path) -> None:
    anno = write_rextime(tmp_path).anno
    train = BENCHMARK.read_train(anno)
    assert len(train) == 4
    controls = BENCHMARK.score(ANSWERS, BENCHMARK.load_annotations(anno), train=train).controls
    # two of the four moments are 5 - 15 seconds
    assert controls["table"]["R@1 IoU=0.5"]["constant answer"] >= 50.0
    assert "fitted to 4 queries" in controls["notes"]["constant answer"]


def test_hidden_labels_give_a_submission_alone(tmp_path: Path) -> None:
    rows = json.loads(write_rextime(tmp_path).anno.read_text())
    for row in rows:
        del row["ans"], row["span"]
    annotations = BENCHMARK.load_annotations(write_json(tmp_path / "test.json", rows))
    result = BENCHMARK.score(ANSWERS, annotations)
    assert result.scores == {"found": 6, "parsed": 5, "expected": 8}
    assert result.controls == {}
    assert "no labels" in result.notes[0]
    assert len(result.files["rextime_submission.jsonl"].splitlines()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ans": "E"}, "row 0: ans is 'E': it must be a letter from A to D"),
        ({"ans": None}, "row 0: ans is None"),
        ({"span": [1]}, r"row 0: span is \[1\]"),
        ({"options": None}, "row 0: options is None"),
        ({"vid": "../x"}, "points outside"),
    ],
)
def test_broken_rows_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = json.loads(write_rextime(tmp_path).anno.read_text())
    with pytest.raises(AnnotationError, match=message):
        BENCHMARK.read(write_json(tmp_path / "a.json", [{**rows[0], **change}, rows[1]]))
