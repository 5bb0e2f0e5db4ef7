"""`timechat data audit`: what it writes and prints, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.planted_faults import ITEMS, plant
from helpers.training import read_lines

from timechat.cli import main


def audit(folder: Path, *arguments: str) -> int:
    """Run the command."""
    command = ["data", "audit", str(folder / "train.json"), "--videos-dir", str(folder / "videos"), "--workers", "1"]
    return main([*command, "--output", str(folder / "out"), *arguments])


def test_faults_are_written_printed_and_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS)
    assert audit(tmp_path) == 1
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} >= {
        "coverage.md",
        "train.faults.jsonl",
        "train.looks.jsonl",
        "train.manifest.json",
    }
    page = capsys.readouterr().out
    for line in (
        "missing: 3 items, left out (the video does not exist)",
        "    item 10, gone.mp4: no such file",
        "beyond-end: 6 items (an answer names a time after the end of the video)",
        "  kept: 15 of 28 items (53.6 %)",
        f"to train without them: datasets.train.build_info.manifest={out / 'train.manifest.json'}",
    ):
        assert line in page
    assert len(read_lines(out / "train.faults.jsonl")) == sum(len(faults) for _, faults in ITEMS)
    assert audit(tmp_path, "--keep", "missing", "--leave-out", "duplicate", "beyond-end") == 1
    page = capsys.readouterr().out
    assert "missing: 3 items (the" in page
    assert "beyond-end: 6 items, left out" in page


def test_without_faults_it_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS[:6])
    assert audit(tmp_path) == 0
    assert "kept: 6 of 6 items (100.0 %)" in capsys.readouterr().out
    assert "None is missing." in (tmp_path / "out" / "coverage.md").read_text()


def test_what_cannot_be_audited_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS[:1])
    (tmp_path / "train.json").write_text("{")
    assert audit(tmp_path) == 1
    assert "AnnotationError" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.manifest.json").exists()
