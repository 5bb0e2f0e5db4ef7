"""`timechat data convert`: from a CSV of one's own to a step and a score; what it prints, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.evaluations import arguments, scores
from helpers.source_data import DOWNLOADS
from helpers.training import train
from helpers.videos import write_video

from timechat.cli import evaluate
from timechat.cli.data import convert, main

CSV = "video,start,end,sentence\na.mp4,0.0,1.0,a person opens a door.\nb.mp4,0:00.5,0:01.5,a cat sleeps.\n"


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line that must fail says."""
    capsys.readouterr()
    assert convert.main(argv) == 1
    return capsys.readouterr().err


def test_own_videos_from_rows_to_a_step_and_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No code: a CSV, one command, a `datasets` entry, an evaluation."""
    (tmp_path / "moments.csv").write_text(CSV)
    (tmp_path / "videos").mkdir()
    for name, frames in (("a", 20), ("b", 14)):
        write_video(tmp_path / "videos" / f"{name}.mp4", frames=frames)
    files = {"--output": tmp_path / "train.json", "--eval-output": tmp_path / "test.json"}

    argv = ["convert", "mine", str(tmp_path / "moments.csv")]
    assert main([*argv, *(str(part) for pair in files.items() for part in pair)]) == 0
    printed = capsys.readouterr().out
    assert f"2 records of {tmp_path}/moments.csv converted\n{tmp_path}/train.json: 2 items\n" in printed
    assert f"{tmp_path}/test.json: 2 rows\n" in printed

    info = {"anno_dir": str(tmp_path / "train.json"), "videos_dir": str(tmp_path / "videos")}
    entry = {"my_data": {"builder": "video_instruct", "build_info": info}}
    run = train(tmp_path / "run", entry, "run.max_epoch=1", "run.accum_grad_iters=2", "run.iters_per_epoch=2")
    assert len(run.losses) == 1  # one step over both samples
    assert math.isfinite(run.losses[0])

    asked = ["--anno-path", str(tmp_path / "test.json")]
    assert evaluate.main(arguments(tmp_path, tmp_path / "out", *asked)) == 0
    assert scores(tmp_path / "out")["counts"]["expected"] == 2


def test_what_is_broken_is_printed_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "moments.csv"
    rows.write_text(f"{CSV}c.mp4,9,3,backwards\nd.mp4,,3,no start\n")
    assert convert.main(["mine", str(rows), "--output", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert f"broken, and left out: 2 (all of them in {tmp_path}/out.report.json)\n" in printed
    assert f"  {rows}, line 4: the moment is [9, 3]: it starts after its end\n" in printed
    assert f"  {rows}, line 5: start is missing: write seconds (83.5) or a clock (1:23.5)\n" in printed
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert (report["converted"], report["broken"]) == (2, 2)
    assert report["broken_parts"][0]["where"] == "line 4"


def test_strict_writes_nothing_if_something_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "moments.csv").write_text(f"{CSV}c.mp4,9,3,backwards\n")
    argv = ["mine", str(tmp_path / "moments.csv"), "--output", str(tmp_path / "out.json"), "--strict"]
    assert "1 part is broken, to be corrected or removed:\n  " in error_of(argv, capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["moments.csv"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give --output, --eval-output or both"),
        (["--output", "{folder}/moments.csv"], "moments.csv: is named twice, and would be overwritten"),
        (["--output", "{folder}/out.txt"], "out.txt: end its name in .json (a list) or .jsonl (one item a line)"),
        (["--output", "{folder}/a.json", "--task", "highlights"], "--task highlights: mine has no task of that name"),
        (["--output", "{folder}/a.json", "--split", "val"], "it has none, leave it out"),
        (["--output", "{folder}/a.json", "--videos", "{{name}}.mp4"], "no mark {name}; there are path, id, split"),
    ],
)
def test_what_is_refused(more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "moments.csv").write_text(CSV)
    argv = ["mine", str(tmp_path / "moments.csv"), *(part.format(folder=tmp_path) for part in more)]
    assert told in error_of(argv, capsys)
    assert (tmp_path / "moments.csv").read_text() == CSV
    assert [file.name for file in tmp_path.iterdir()] == ["moments.csv"]


def test_an_unknown_source_has_a_near_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = error_of(["charades", str(tmp_path), "--output", str(tmp_path / "a.json")], capsys)
    assert "no source 'charades' (did you mean 'charades_sta'?)" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tvsum", "`timechat evaluate --benchmark tvsum` reads ydata-tvsum50-anno.tsv"),
        ("webvid", "webvid has free answers, which no benchmark scores"),
    ],
)
def test_no_rows_where_no_benchmark_reads_them(
    name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download = DOWNLOADS[name](tmp_path)
    assert told in error_of([name, str(download.path), "--eval-output", str(tmp_path / "test.json")], capsys)
