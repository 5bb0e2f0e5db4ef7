"""`timechat data compress` on a folder as downloads leave it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.locks import holding
from helpers.rewritten import numbers_and_seconds, wrong_frames
from helpers.timed_videos import write_numbered

from timechat.cli.data.compress import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos in sub-folders, one that is none, one whose suffix cannot stay, and other files."""
    videos = tmp_path / "videos"
    (videos / "sub" / "0").mkdir(parents=True)
    write_numbered(videos / "a.mp4")
    write_numbered(videos / "sub" / "0" / "b.mkv")
    write_numbered(videos / "c.avi", codec="mpeg4")
    (videos / "sub" / "bad.mp4").write_text("no video")
    (videos / "list.json").write_text("[]")
    (videos / "d.mp4.part").touch()
    write_numbered(videos / "video-x.mp4").rename(videos / "video-x")
    return videos


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def compress(*argv: object) -> int:
    return main([*map(str, argv), "--workers", "2", "--with", "pyav"])


def test_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, before = tmp_path / "small", {name: (folder / name).read_bytes() for name in files(folder)}
    assert compress(folder, output) == 1
    assert files(output) == {"a.mp4", "sub/0/b.mkv", "c.mp4", "video-x", "failed.jsonl", "encoding.json"}
    for name, new in (("a.mp4", "a.mp4"), ("sub/0/b.mkv", "sub/0/b.mkv"), ("c.avi", "c.mp4"), ("video-x", "video-x")):
        assert wrong_frames(folder / name, output / new) == []
    (failed,) = [json.loads(line) for line in (output / "failed.jsonl").read_text().splitlines()]
    assert failed["video"] == str(folder / "sub" / "bad.mp4")
    assert "not a video" in failed["error"]
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    printed = capsys.readouterr().out
    assert "made 4, were there 0, failed 1\n19.2 s of video: " in printed
    assert "written by ffmpeg 0, by PyAV 4\n" in printed
    assert f"{output / 'failed.jsonl'}; the same command tries them again\n" in printed
    assert "1 has the suffix .mp4 now" in printed
    assert "no videos by their names: 1 .part, 1 .json\n" in printed


def test_the_second_run_makes_what_the_first_did_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "small"
    compress(folder, output)
    made = (output / "a.mp4").stat().st_mtime_ns
    write_numbered(folder / "sub" / "bad.mp4")
    (output / "c.mp4").unlink()
    capsys.readouterr()
    assert compress(folder, output) == 0
    assert "made 2, were there 3, failed 0\n" in capsys.readouterr().out
    assert (output / "a.mp4").stat().st_mtime_ns == made
    assert not (output / "failed.jsonl").exists()


def test_other_settings_do_not_get_in_between(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compress(folder, tmp_path / "small")
    assert compress(folder, tmp_path / "small", "--fps", 3) == 1
    assert "made with other settings (fps=6.0 then, 3.0 now); give another folder" in capsys.readouterr().err


def test_a_killed_run_leaves_whole_files_alone_and_goes_on(tmp_path: Path) -> None:
    videos, output = tmp_path / "videos", tmp_path / "small"
    videos.mkdir()
    for number in range(12):
        write_numbered(videos / f"{number}.mp4", count=150)
    command = [sys.executable, "-m", "timechat", "data", "compress", str(videos), str(output)]
    command += ["--workers", "2", "--with", "pyav"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(output.glob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, timeout=60)[1]  # they end with it
    whole = {path: path.stat().st_mtime_ns for path in output.glob("*.mp4")}
    assert whole
    (output / f".3.mp4.{process.pid}.tmp").touch()  # mostly there is one already
    assert compress(videos, output) == 0
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    for number in range(12):
        assert wrong_frames(videos / f"{number}.mp4", output / f"{number}.mp4") == []
    assert {path: path.stat().st_mtime_ns for path in whole} == whole


def test_a_second_process_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timechat.locks.PATIENCE_S", 0.0)
    with holding(tmp_path / "small") as other:
        assert compress(folder, tmp_path / "small") == 1
    assert f"small: process {other.pid} on " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["videos", "videos"], "the same folder as the original videos"),
        (["none", "small"], "none: no such folder of videos"),
        (["empty", "small"], "empty: has no videos; their names end in .3gp,"),
        (["twins", "small"], "a.avi and twins/a.mp4 would both become small/a.mp4; move one of them away"),
        (["videos", "small", "--with", "ffmpeg"], "--with ffmpeg: no ffmpeg on PATH"),
    ],
)
def test_what_cannot_be_done(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("PATH", "")
    for name in ("empty", "twins"):
        Path(name).mkdir()
    for name in ("a.avi", "a.mp4"):
        Path("twins", name).touch()
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--fps", "0"], ["--short-side", "x"], ["--crf", "52"], ["--workers", "0"]])
def test_numbers_that_are_none(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["videos", "small", *wrong])


def test_an_output_inside_of_the_input_is_not_compressed_again(folder: Path) -> None:
    compress(folder, folder / "small")
    assert compress(folder, folder / "small") == 1
    assert not (folder / "small" / "small").exists()


@pytest.mark.parametrize("content", ["empty", "cut", "folder"])
def test_what_cannot_be_read_does_not_count_as_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "videos").mkdir()
    write_numbered(tmp_path / "videos" / "a.mp4")
    assert compress(tmp_path / "videos", tmp_path / "small") == 0
    small = tmp_path / "small" / "a.mp4"
    whole = small.read_bytes()
    small.unlink()
    if content == "folder":
        small.mkdir()
    else:
        small.write_bytes(b"" if content == "empty" else whole[: len(whole) // 2])
    capsys.readouterr()
    assert compress(tmp_path / "videos", tmp_path / "small") == int(content == "folder")
    counts = "made 0, were there 0, failed 1" if content == "folder" else "made 1, were there 0, failed 0"
    assert counts in capsys.readouterr().out


def test_a_low_rate_is_not_raised_and_what_grows_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    write_numbered(tmp_path / "videos" / "a.mp4", count=12, fps=2)
    assert compress(tmp_path / "videos", tmp_path / "small", "--crf", 0) == 0
    found = numbers_and_seconds(tmp_path / "small" / "a.mp4")
    assert found == [(number, number / 2) for number in range(12)]
    assert "larger than their originals, which serve as well: 1, such as " in capsys.readouterr().out


def test_a_file_in_the_place_of_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    write_numbered(tmp_path / "videos" / "a.mp4", count=5)
    (tmp_path / "moments.csv").touch()
    assert compress(tmp_path / "videos", tmp_path / "moments.csv") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"ConfigError: {tmp_path}/moments.csv: ")
    assert "there is a file where a folder must be" in error
