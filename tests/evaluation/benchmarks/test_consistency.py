"""Charades-CON and ActivityNet-CON: what follows a query that was found, and scores by the authors' rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_json
from helpers.moment_data import write_consistency

from timechat.errors import AnnotationError, ConfigError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.consistency import asks_for_presence, expects
from timechat.evaluation.prompting import load_prompt

BENCHMARK = get_benchmark("charades_con")
PROMPT = load_prompt(BENCHMARK.prompt_path)
FOUND = {"AAAAA#0/ground": "0.0 - 10.0 seconds"}  # IoU 1
NOT_FOUND = {"AAAAA#1/ground": "10.0 - 14.9 seconds", "BBBBB#0/ground": "I cannot tell."}  # IoU 0.49


def test_the_queries_come_first(tmp_path: Path) -> None:
    data = write_consistency(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    questions = BENCHMARK.questions(annotations, PROMPT, videos_dir=data.videos)
    assert [(q.id, q.video) for q in questions][:2] == [
        ("AAAAA#0/ground", "AAAAA.mp4"),
        ("AAAAA#1/ground", "AAAAA.mp4"),
    ]
    assert "When does 'a person opens a door.' happen" in questions[0].prompt
    assert len(questions) == 5


def test_what_is_found_is_followed_up(tmp_path: Path) -> None:
    """A threshold of 0.5 after rounding: 0.496 is enough, 0.49 is not. Times are those that the model found."""
    data = write_consistency(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    found = {"AAAAA#0/ground": "2.5 - 7.46 seconds"}
    more = BENCHMARK.follow_ups(annotations, PROMPT, found | NOT_FOUND, videos_dir=data.videos)
    assert [q.id for q in more] == [
        f"AAAAA#0/{end}"
        for end in (
            "rephrased/0", "rephrased/1", "shifted",
            "verify/query", "verify/aligned/0", "verify/aligned/1", "verify/misaligned/0",
            "compose/yes/0", "compose/no/0",
        )
    ]  # fmt: skip
    asked = {q.id: q for q in more}
    assert asked["AAAAA#0/shifted"].video == "shifted_videos/AAAAA_0.mp4"
    assert "the door is opened" in asked["AAAAA#0/rephrased/0"].prompt
    assert asked["AAAAA#0/compose/yes/0"].prompt == (
        "Is a door opened from 2.5 to 7.5 seconds of the video? Reply with yes or no."
    )
    rows = {row["id"]: row for row in annotations.rows}
    for key in ("verify/query", "verify/aligned/0", "verify/aligned/1", "verify/misaligned/0"):
        question, row = asked[f"AAAAA#0/{key}"], rows[f"AAAAA#0/{key}"]
        assert f"'{row['caption']}', from 2.5 to 7.5 seconds? Reply with yes or no." in question.prompt
        assert ("is absent from" in question.prompt) != asks_for_presence(row)
        assert expects(row) == (("misaligned" not in key) == asks_for_presence(row))
    assert BENCHMARK.follow_ups(annotations, PROMPT, {}) == []


def test_both_questions_are_asked(tmp_path: Path) -> None:
    """Which one an id has is fixed, and neither is rare."""
    shares = [asks_for_presence({"id": f"AAAAA#{number}/verify/query"}) for number in range(200)]
    assert 80 < sum(shares) < 120


def answers_to_follow_ups(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Of AAAAA 0: one of two rephrasings at the same moment, the moved one found, and yes to everything but one."""
    said = {"rephrased/0": "1 - 10 seconds", "rephrased/1": "15 - 20 seconds", "shifted": "10 - 20 seconds"}
    said |= {"compose/yes/0": "Yes.", "compose/no/0": "It may be."}
    for row in rows:
        if row["asks"] == "verify":
            said[row["id"].partition("/")[2]] = "yes" if expects(row) else "No, it does not."
    said["verify/query"] = "no" if said["verify/query"] == "yes" else "yes"
    return {f"AAAAA#0/{key}": answer for key, answer in said.items()}


def test_scores_by_hand(tmp_path: Path) -> None:
    """One query of five is found. R 1/2, S 1/1, H 3/4, C 1/2, each times 1/5."""
    annotations = BENCHMARK.load_annotations(write_consistency(tmp_path).anno)
    rows = [row for row in annotations.rows if row["key"] == "AAAAA#0"]
    ignored = {"AAAAA#1/shifted": "10 - 20 seconds"}  # what follows a query that was not found
    result = BENCHMARK.score(FOUND | NOT_FOUND | answers_to_follow_ups(rows) | ignored, annotations, prompt=PROMPT)
    assert result.scores == pytest.approx(
        {"Ground": 20, "R@1 IoU=0.3": 40, "R@1 IoU=0.7": 20, "mIoU": 100 * (1 + 0.49) / 5}
        | {"R-Ground (relative)": 50, "S-Ground (relative)": 100, "H-Verify (relative)": 75, "C-Verify (relative)": 50}
        | {"R-Ground": 10, "S-Ground": 20, "H-Verify": 15, "C-Verify": 10}
        | {"found": 12, "parsed": 10, "expected": 14}
    )
    assert [failure.id for failure in result.failures] == ["BBBBB#0/ground", "AAAAA#0/compose/no/0"]
    assert result.notes[0] == "1 of 5 queries were found (IoU 0.5 or more) and followed up."
    assert result.shares["R-Ground"] == pytest.approx(
        {
            "AAAAA#0/ground": 50,
            **dict.fromkeys((f"{key}/ground" for key in ("AAAAA#1", "BBBBB#0", "CCCCC#0", "DDDDD#0")), 0),
        }
    )
    assert result.controls["table"].keys() == {"R@1 IoU=0.3", "Ground", "R@1 IoU=0.7", "mIoU"}
    assert result.controls["table"]["Ground"]["whole video"] == pytest.approx(100.0)
    quality = {example.id: example.quality for example in result.examples}
    assert quality["AAAAA#0/rephrased/0"] == 0.9
    assert quality["AAAAA#0/verify/query"] == 0.0


def test_moved_videos_that_are_not_there_do_not_count(tmp_path: Path) -> None:
    annotations = BENCHMARK.load_annotations(write_consistency(tmp_path).anno)
    scores = BENCHMARK.score(FOUND, annotations).scores
    assert "S-Ground" not in scores
    assert scores["R-Ground"] == 0.0


def test_true_moments_are_cut_at_the_end_of_the_video(tmp_path: Path) -> None:
    """For what counts as found, not for the score: 10 - 40 of a video of 20 seconds, found at 10 - 20."""
    data = write_consistency(tmp_path)
    content = json.loads(data.anno.read_text())
    content["AAAAA"]["timestamps"][1] = [10.0, 40.0]
    annotations = BENCHMARK.load_annotations(write_json(data.anno, content))
    answers = {"AAAAA#1/ground": "10 - 20 seconds"}
    assert len(BENCHMARK.follow_ups(annotations, PROMPT, answers)) == 9
    assert BENCHMARK.score(answers, annotations).scores["Ground"] == 0.0


def test_limit_and_ids_choose_queries(tmp_path: Path) -> None:
    anno = write_consistency(tmp_path).anno
    assert {row["key"] for row in BENCHMARK.load_annotations(anno, limit=2).rows} == {"AAAAA#0", "AAAAA#1"}
    assert len(BENCHMARK.load_annotations(anno, ids=["BBBBB#0/ground"]).rows) == 10
    with pytest.raises(ConfigError, match=r"1 of the ids are not there \(x\)"):
        BENCHMARK.load_annotations(anno, ids=["x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": None}, "'AAAAA', sentence 0: duration is None"),
        ({"sentences": ["a"]}, "'AAAAA': expected an object, found .no lists of one length: sentences"),
        ({"shifted_timestamps": [[1], [1, 2]]}, r"'AAAAA', sentence 0: shifted_timestamp is \[1\]"),
        (
            {"consistency_annotations": [{"A": ["a"], "M": ["b"], "C": {"Y": ["c"]}}] * 2},
            r"annotations\.C\.N is 'None'",
        ),
        ({"consistency_annotations": [3, 4]}, r"annotations\.A is 'None'"),
    ],
)
def test_broken_files_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = write_consistency(tmp_path)
    content = json.loads(data.anno.read_text())
    content["AAAAA"] |= change
    with pytest.raises(AnnotationError, match=message):
        BENCHMARK.read(write_json(data.anno, content))
