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
        f"to train without them: manifest: {out / 'train.manifest.json'} in build_info of the dataset that reads this",
        "can be read (headers and ends)",
    ):
        assert line in page
    assert len(read_lines(out / "train.faults.jsonl")) == sum(len(faults) for _, faults in ITEMS)
    assert audit(tmp_path, "--keep", "missing", "--leave-out", "duplicate", "beyond-end") == 1
    page = capsys.readouterr().out
    assert "missing: 3 items (the" in page
    assert "beyond-end: 6 items, left out" in page
    assert "written over the manifest of an earlier audit, by which 13 items were left out" in page


def test_without_faults_it_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS[:6])
    assert audit(tmp_path) == 0
    page = capsys.readouterr().out
    assert "kept: 6 of 6 items (100.0 %)" in page
    assert "manifest" not in page
    assert "None is missing." in (tmp_path / "out" / "coverage.md").read_text()


def test_what_cannot_be_audited_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS[:1])
    (tmp_path / "train.json").write_text("{")
    assert audit(tmp_path) == 1
    assert "AnnotationError" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_do_not_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        plant(tmp_path / name, ITEMS[:1])
    command = ["--videos-dir", "mine/videos", "--workers", "1"]
    assert main(["data", "audit", "mine/train.json", *command]) == 0
    before = {path: path.read_bytes() for path in Path("runs/audit/train").iterdir()}
    capsys.readouterr()
    assert main(["data", "audit", "other/train.json", *command]) == 1
    error = capsys.readouterr().err
    assert "train.manifest.json: is the manifest of another annotation file, mine/train.json" in error
    assert "such as --output runs/audit/other_train" in error
    assert {path: path.read_bytes() for path in Path("runs/audit/train").iterdir()} == before
    assert main(["data", "audit", "other/train.json", *command, "--output", "runs/audit/other_train"]) == 0
    assert main(["data", "audit", "mine/train.json", *command]) == 0


def test_nothing_to_train_on_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, ITEMS[:1])
    assert audit(tmp_path, "--min-seconds", "1000") == 1
    page = capsys.readouterr().out
    assert "nothing is left to train on" in page
    assert "to train without them" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos-dir", "nowhere"], "--videos-dir=nowhere: no such folder"),
        (["--leave-out", "missing", "--keep", "schema", "missing"], "--leave-out and --keep both name missing"),
    ],
)
def test_arguments_that_cannot_be_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    plant(tmp_path, ITEMS[:1])
    assert audit(tmp_path, *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_folder_is_no_annotation_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(tmp_path), "--videos-dir", str(tmp_path)]) == 1
    assert "is a folder; give the annotation file, or a YAML config" in capsys.readouterr().err
