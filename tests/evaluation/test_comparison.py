"""Several evaluations side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timechat.cli.report import main
from timechat.evaluation.comparison import compare
from timechat.io import write_json


def record(benchmark: str = "charades_sta", score: str = "mIoU", value: float = 44.5, **more: Any) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "percent": {score: value, "other": 1.0, "found": 4.0},
        "main_scores": [score],
        "counts": {"expected": 5, "found": 4, "unparsable": 1, "unreadable_videos": 2},
        "settings": {"temperature": 0.0, "model.ckpt": "a.pth"},
        "seconds_per_video": 1.2345,
        **more,
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_different_benchmarks_share_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "a" / "scores.json", record())
    write_json(tmp_path / "b" / "scores.json", record("youcook2", "F1", 31.25, seconds_per_video=None))
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == ["charades_sta", "mIoU 44.50", "4 / 5", "1", "1.23"]
    assert lines[3] == ["youcook2", "F1 31.25", "4 / 5", "1", "-"]
    assert len(lines) == 4


def test_runs_of_one_benchmark_have_columns_and_the_settings_that_differ() -> None:
    settings = {"temperature": 1.0, "model.ckpt": "a.pth", "top_p": 0.9}
    seeds = {"seeds": [1, 2], "mean": {"mIoU": 40.0}, "std": {"mIoU": 2.0}}
    runs = {
        "one": record(limit=10, benchmark_options={"rule": "start", "unit": "s"}),
        "two": record(value=40.0, settings=settings, seeds=seeds, benchmark_options={"rule": "end", "unit": "s"}),
        "tri": record("x", "F1"),
    }
    lines = [cells(line) for line in compare(runs).splitlines()]
    assert lines[0] == ["charades_sta", "mIoU", "found / expected", "unparsable", "s / video"]
    assert lines[2] == ["one", "44.50", "4 / 5", "1", "1.23"]
    assert lines[3] == ["two", "40.00 ± 2.00", "4 / 5", "1", "1.23"]
    assert lines[5] == ["Settings that differ:"]
    assert lines[6] == ["setting", "one", "two"]
    assert lines[8:12] == [
        ["temperature", "0.0", "1.0"],
        ["benchmark option rule", "start", "end"],
        ["limit", "10", "-"],
        ["top_p", "-", "0.9"],
    ]
    assert lines[13] == ["x", "F1", "found / expected", "unparsable", "s / video"]
    assert len(lines) == 16  # nothing differs from itself


def test_a_run_without_a_main_score_has_a_dash() -> None:
    lines = compare({"one": record(), "two": record(percent={})}).splitlines()
    assert cells(lines[3])[:2] == ["two", "-"]
    assert "mIoU -" in compare({"two": record(percent={})})


def test_equal_settings_are_not_listed() -> None:
    text = compare({"one": record(), "two": record(value=40.0)})
    assert text.splitlines()[-1] == "All settings are equal."
    assert "temperature" not in text


def test_long_settings_keep_their_end() -> None:
    long = {"temperature": 0.0, "model.ckpt": "/very/long/folder/" * 9 + "last.pth"}
    line = compare({"one": record(), "two": record(settings=long)}).splitlines()[-1]
    assert cells(line)[1] == "a.pth"
    assert cells(line)[2].startswith("...")
    assert cells(line)[2].endswith("/last.pth")
