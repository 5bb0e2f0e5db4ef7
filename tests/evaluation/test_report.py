"""Tables of finished evaluations, and their pictures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from helpers.videos import write_video

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import Example
from timechat.evaluation.files import read_json, read_json_lines, write_json
from timechat.evaluation.plots import chosen_videos, draw_plots
from timechat.evaluation.report import main, markdown_report, read_record, score_table

RECORD: dict[str, Any] = {
    "benchmark": "charades_sta",
    "task": "temporal grounding",
    "scores": {"mIoU": 44.5, "R@1 IoU=0.5": 40.0, "found": 4.0, "expected": 5.0},
    "percent": {"mIoU": 44.5, "R@1 IoU=0.5": 40.0, "found": 4.0, "expected": 5.0},
    "main_scores": ["R@1 IoU=0.5"],
    "controls": {"answers swapped": 12.5},
    "counts": {"expected": 5, "found": 4, "unparsable": 1, "unreadable_videos": 2},
    "failure_reasons": {"no times | at all": 1},
    "limit": 5,
    "clip_of_time": None,
    "settings": {"max_new_tokens": 64, "model.lora_dropout": 0.125},
    "seconds_per_video": 1.2345,
    "processes": 2,
    "git_commit": None,
    "prompt": {"file": "prompts/grounding.txt", "text": "When does '{query}' happen?", "sha256": "abc"},
    "system_prompt": "You watch.",
}


def test_table_starts_with_the_main_scores_and_counts() -> None:
    lines = [line.split("  ") for line in score_table(RECORD).splitlines()]
    table = [(cells[0], cells[-1].strip()) for cells in lines]
    assert table[0] == ("charades_sta", "value")
    assert table[2:] == [
        ("R@1 IoU=0.5", "40.00"),
        ("mIoU", "44.50"),
        ("answers swapped", "12.50"),
        ("found / expected", "4 / 5"),
        ("unparsable", "1"),
    ]


def test_markdown_says_what_was_counted_and_how_to_repeat_it() -> None:
    page = markdown_report(RECORD, [Path("out/timeline_best.png")])
    assert "| R@1 IoU=0.5 | 40.00 |" in page
    assert "Answers found / expected: 4 / 5. Unparsable: 1. Unreadable videos: 2." in page
    assert "Only the first 5 questions were asked." in page
    assert "| no times \\| at all | 1 |" in page
    assert "![timeline_best](timeline_best.png)" in page
    assert "When does '{query}' happen?" in page
    assert "| git commit | unknown |" in page
    assert "| model.lora_dropout | 0.125 |" in page
    done = RECORD | {"seconds_per_video": None, "limit": None}
    assert "there already" in markdown_report(done)
    assert "Only the first" not in markdown_report(done)


def test_joint_table_has_one_row_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = copy.deepcopy(RECORD) | {"benchmark": "youcook2", "main_scores": ["F1"], "percent": {"F1": 31.25}}
    write_json(tmp_path / "a" / "scores.json", RECORD)
    write_json(tmp_path / "b" / "scores.json", other)
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["charades_sta", "R@1", "IoU=0.5", "40.00", "4", "/", "5", "1"]
    assert lines[3].split() == ["youcook2", "F1", "31.25", "4", "/", "5", "1"]


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


def example(id: str, video: str, quality: float, **more: Any) -> Example:
    return Example(id, video, f"query {id}", quality, **more)


def test_best_median_and_worst_video() -> None:
    by_video = {name: [example(name, name, q)] for name, q in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.3), strict=True)}
    assert chosen_videos(by_video) == {"best": "b", "median": "a", "worst": "c"}
    by_video["b"].append(example("x", "b", 0.0))  # a video counts by the mean of its questions
    assert chosen_videos(by_video)["best"] == "d"
    assert chosen_videos({"a": by_video["a"]}) == {"best": "a"}
    assert chosen_videos({}) == {}


def test_plots_are_drawn_also_without_a_readable_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", frames=20)
    examples = [
        example("1", "a.mp4", 0.8, true=[(0.0, 1.0)], predicted=[(0.2, 1.0)]),
        example("2", "a.mp4", 0.0, true=[(1.0, 2.0)]),
        example("3", "gone.mp4", 0.5, true_saliency=[0.0, 3.0], predicted_saliency=[1.0, 2.0]),
    ]
    files = {"1": video, "2": video, "3": tmp_path / "gone.mp4"}
    paths = draw_plots(examples, files, tmp_path / "plots")
    assert [path.stem for path in paths] == ["timeline_best", "timeline_worst", "quality_histogram"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert draw_plots([], {}, tmp_path / "none") == []
