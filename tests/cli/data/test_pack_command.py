"""`timechat data pack`: what it is told, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.tiny import tiny_dataset

from timechat.cli import main


def test_packing_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = tiny_dataset(tmp_path)
    command = ["data", "pack", info["anno_dir"], "--videos-dir", info["videos_dir"], "--output", str(tmp_path / "out")]
    assert main([*command, "--shard-size", "2KB", "--name", "t"]) == 0
    said = capsys.readouterr().out
    assert re.match(r"2 annotations of 2 videos in 2 shards, \d+\.\d kB, in ", said)
    assert "(0 were there already; " in said
    assert {path.name for path in (tmp_path / "out").glob("t-*")} == {
        f"t-00000{number}.{suffix}" for number in (0, 1) for suffix in ("tar", "idx")
    }
    assert main([*command, "--shard-size", "2KB", "--name", "t"]) == 0
    assert "(2 were there already; " in capsys.readouterr().out


@pytest.mark.parametrize("damaged", ["t-000000.tar", "t-000000.idx"])
@pytest.mark.parametrize("left", [0, 600])
def test_half_a_shard_does_not_count_as_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: str, left: int
) -> None:
    info = tiny_dataset(tmp_path)
    command = ["data", "pack", info["anno_dir"], "--videos-dir", info["videos_dir"], "--output", str(tmp_path / "out")]
    assert main([*command, "--shard-size", "2KB", "--name", "t"]) == 0
    whole = {path: path.read_bytes() for path in (tmp_path / "out").glob("t-*")}
    path = tmp_path / "out" / damaged
    path.write_bytes(path.read_bytes()[: min(left, path.stat().st_size - 1)])
    capsys.readouterr()
    assert main([*command, "--shard-size", "2KB", "--name", "t"]) == 0
    assert "(1 was there already; " in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("t-*")} == whole


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = tiny_dataset(tmp_path)
    (Path(info["videos_dir"]) / "b.mp4").unlink()
    command = ["data", "pack", info["anno_dir"], "--videos-dir", info["videos_dir"], "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "b.mp4 is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--missing", "drop"]) == 0
    said = capsys.readouterr().out
    assert f"left out: 1 video with 1 annotation, listed in {tmp_path}/out/left_out.txt" in said
    assert (tmp_path / "out" / "train-000000.tar").is_file()


@pytest.mark.parametrize(
    "wrong", [["--shard-size", "big"], ["--shard-size", "0"], ["--workers", "0"], ["--name", "a/b"]]
)
def test_arguments_that_make_no_sense(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "pack", "a.json", "--videos-dir", "v", "--output", "o", *wrong])
    assert stopped.value.code == 2
    assert wrong[1] in capsys.readouterr().err
