"""The tables and the page of a finished evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timechat.cli.report import main
from timechat.errors import PredictionError
from timechat.evaluation.outputs import read_json, read_json_lines
from timechat.evaluation.report import markdown_report, read_record, score_table
from timechat.io import write_json

RECORD: dict[str, Any] = {
    "benchmark": "charades_sta",
    "task": "temporal grounding",
    "scores": {"mIoU": 44.5, "R@1 IoU=0.5": 40.0, "found": 4.0, "expected": 5.0},
    "percent": {"mIoU": 44.5, "R@1 IoU=0.5": 40.0, "found": 4.0, "expected": 5.0},
    "main_scores": ["R@1 IoU=0.5"],
    "controls": {},
    "counts": {"expected": 5, "found": 4, "unparsable": 1, "unreadable_videos": 2},
    "failure_reasons": {"no times | at all": 1},
    "limit": 5,
    "benchmark_options": {"rounding": "down"},
    "settings": {"max_new_tokens": 64, "model.lora_dropout": 0.125},
    "seconds_per_video": 1.2345,
    "processes": 2,
    "git_commit": None,
    "prompt": {"file": "prompts/grounding.txt", "text": "When does '{query}' happen?", "sha256": "abc"},
    "system_prompt": "You watch.",
}


CONTROLS: dict[str, Any] = {
    "table": {
        "R@1 IoU=0.5": {"constant answer": 11.0, "query-blind": 71.5},
        "mIoU": {"constant answer": 12.0, "shuffled questions": 13.0},
    },
    "by_queries": {"R@1 IoU=0.5": {"10": 30.0, "2": 45.5}},
    "left_out": {"whole video": "needs the durations of the videos"},
    "notes": {"constant answer": "0.0 - 8.1 seconds for every query"},
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_table_starts_with_the_main_scores_and_counts() -> None:
    table = [cells(line) for line in score_table(RECORD).splitlines()]
    assert table[0] == ["charades_sta", "value"]
    assert table[2:] == [
        ["R@1 IoU=0.5", "40.00 ± 21.91"],  # sqrt(40 * 60 / 5)
        ["mIoU", "44.50"],
        ["found / expected", "4 / 5"],
        ["unparsable", "1 (25.0% of the answers)"],
        ["± is the standard error over 5 questions."],
    ]


def test_controls_stand_beside_the_model() -> None:
    record = RECORD | {"controls": CONTROLS, "notes": ["2 videos had no transcript."]}
    lines = score_table(record).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("score "))
    assert cells(lines[start]) == [
        *("score", "model", "constant answer", "whole video", "query-blind", "shuffled questions"),
    ]
    assert cells(lines[start + 2]) == ["R@1 IoU=0.5", "40.00", "11.00", "-", "71.50", "-"]
    assert cells(lines[start + 3]) == ["mIoU", "44.50", "12.00", "-", "-", "13.00"]
    assert "constant answer: 0.0 - 8.1 seconds for every query" in lines
    assert "whole video is left out: it needs the durations of the videos" in lines
    assert cells(next(line for line in lines if line.startswith("queries "))) == ["queries of the video", "2", "10"]
    assert any(cells(line) == ["R@1 IoU=0.5", "45.50", "30.00"] for line in lines)
    assert lines[-1] == "2 videos had no transcript."
    page = markdown_report(record)
    assert "| score | model | constant answer | whole video | query-blind | shuffled questions |" in page
    assert "| R@1 IoU=0.5 | 40.00 | 11.00 | - | 71.50 | - |" in page
    assert "- whole video is left out: it needs" in page
    assert "2 videos had no transcript.\n" in page


def test_markdown_says_what_was_counted_and_how_to_repeat_it() -> None:
    page = markdown_report(RECORD | {"ids": 3, "train_anno": "train.txt"}, [Path("out/timeline_best.png")])
    assert "| R@1 IoU=0.5 | 40.00 ± 21.91 |" in page
    assert "Answers found / expected: 4 / 5. Unparsable: 1 (25.0% of the answers). Unreadable videos: 2." in page
    assert "Only the first 5 questions were asked." in page
    assert "Only 3 questions, chosen by --ids, were asked." in page
    assert "| no times \\| at all | 1 |" in page
    assert "![timeline_best](timeline_best.png)" in page
    assert "When does '{query}' happen?" in page
    assert "| git commit | unknown |" in page
    assert "| benchmark option rounding | down |" in page
    assert "| train annotations | train.txt |" in page
    assert "| model.lora_dropout | 0.125 |" in page
    assert "| seconds per video | 1.23 |" in page
    done = RECORD | {"seconds_per_video": None, "limit": None}
    assert "there already" in markdown_report(done)
    assert "Only " not in markdown_report(done)


def test_an_evaluation_without_a_single_answer_has_a_page() -> None:
    counts = {"expected": 5, "found": 0, "unparsable": 0, "unreadable_videos": 5}
    assert "expected: 0 / 5. Unparsable: 0. Unreadable videos: 5." in markdown_report(RECORD | {"counts": counts})


def test_published_numbers_stand_beside_this_run_unless_they_are_not_wanted() -> None:
    page = markdown_report(RECORD)
    assert "| model | setting | R@1 IoU=0.5 | mIoU | source |" in page  # what this run has no score for is left out
    assert "| **this run** |  | 40.00 ± 21.91 | 44.50 | measured here |" in page
    assert "| TimeChat-7B | zero-shot | 32.20 | - | the paper |" in page
    assert "published" not in markdown_report(RECORD | {"literature": False}).lower()
    assert "Beside published numbers" not in markdown_report(RECORD | {"benchmark": "my_own"})


def test_an_evaluation_without_scores_has_a_table_and_a_page() -> None:
    record = RECORD | {"scores": {}, "percent": {"found": 4.0, "expected": 5.0}}
    assert score_table(record).splitlines()[2].startswith("found / expected")
    assert "Beside published numbers" not in markdown_report(record)


def test_sampled_runs_show_mean_and_deviation() -> None:
    seeds = {"seeds": [1, 2], "mean": {"R@1 IoU=0.5": 40.0}, "std": {"R@1 IoU=0.5": 1.5}}
    lines = [cells(line) for line in score_table(RECORD | {"seeds": seeds}).splitlines()]
    assert ["R@1 IoU=0.5", "40.00 ± 1.50"] in lines
    assert ["mIoU", "44.50"] in lines
    assert ["Mean ± standard deviation over the seeds 1, 2."] in lines


def test_folders_without_scores_are_one_line_of_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "scores.json: no such file" in captured.err
    assert not captured.out
    write_json(tmp_path / "scores.json", {"benchmark": "x"})
    with pytest.raises(PredictionError, match="main_scores"):
        read_record(tmp_path)


def test_json_lines_drop_the_unfinished_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": "1\u2028"}\n{"a": 2')
    assert read_json_lines(path) == [{"a": "1\u2028"}]
    path.write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(PredictionError, match="line 1: not valid JSON"):
        read_json_lines(path)
    with pytest.raises(PredictionError, match="not valid JSON"):
        read_json(path)
