"""`timechat data locate`: what it prints, that it changes nothing unless it is asked to, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.planted_faults import asked
from helpers.tiny import write_json

from timechat.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Annotations of six videos, five of which are elsewhere."""
    names = [f"COIN/videos_ali/1/{name}.mp4" for name in "abcdef"]
    write_json(tmp_path / "train.json", [asked("Yes.", name) for name in (*names, names[0])])
    (tmp_path / "data").mkdir()
    (tmp_path / "disk/coin").mkdir(parents=True)
    for name in "abcde":
        (tmp_path / f"disk/coin/{name}.mp4").write_text(name)
    return tmp_path


def locate(folder: Path, *arguments: str) -> int:
    """Run the command."""
    command = ["data", "locate", str(folder / "train.json"), "--videos-dir", str(folder / "data")]
    return main([*command, "--search", str(folder / "disk"), *arguments])


def test_it_prints_and_links_only_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert locate(folder) == 1
    page = capsys.readouterr().out
    first = "  COIN/videos_ali/1/a.mp4 -> " + str(folder / "disk/coin/a.mp4")
    for line in (first, "  and 2 more (--all prints them)", "nothing was changed; --link makes 5 links"):
        assert line in page.splitlines()
    assert ["COIN", "6", "0", "5", "0", "1"] in [line.split() for line in page.splitlines()]
    assert "COIN: would be linked" in page
    assert not list((folder / "data").iterdir())
    assert locate(folder, "--all", "--link") == 1
    page = capsys.readouterr().out
    assert page.count(" -> ") == 5
    assert f"5 links made below {folder / 'data'}" in page
    assert "would be" not in page
    (folder / "disk/coin/f.mp4").write_text("f")
    assert locate(folder, "--link") == 0
    assert (folder / "data/COIN/videos_ali/1/f.mp4").read_text() == "f"


def test_a_folder_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert locate(folder, "--search", str(folder / "nowhere")) == 1
    assert "no such folder" in capsys.readouterr().err


def test_what_is_no_video_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And stays, because nothing that exists is removed."""
    place = folder / "data/COIN/videos_ali/1"
    place.mkdir(parents=True)
    (place / "a.mp4").touch()
    (folder / "disk/coin/f.mp4").write_text("f")
    assert locate(folder, "--link") == 1
    page = capsys.readouterr().out
    assert ["COIN", "6", "0", "5", "0", "1"] in [line.split() for line in page.splitlines()]
    assert "COIN: no video in its place, remove it and run this again\n  COIN/videos_ali/1/a.mp4 is empty\n" in page
    assert (place / "a.mp4").stat().st_size == 0
    (place / "a.mp4").unlink()
    assert locate(folder, "--link") == 0


def test_links_that_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data/COIN").touch()
    assert locate(folder, "--link") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"FileError: {folder}/data/COIN/videos_ali/1: cannot be written (")
    assert "there is a file where a folder must be" in error
