"""`timechat data clip`, with the annotations of each collection in their own format: clips checked frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.rewritten import numbers_and_seconds
from helpers.timed_videos import write_numbered
from helpers.tiny import write_json

from timechat.cli.data.clip import main

YOUTUBE = "Ptf_2VRj-V0"
TURNS = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "A frame."}]


def hirest_entry(bounds: Any, steps: int = 1, **changes: Any) -> dict[str, Any]:
    heading = {"index": 0, "heading": "crack the egg", "absolute_bounds": [2, 3]}
    entry = {"relevant": True, "clip": True, "v_duration": 6, "bounds": bounds, "steps": [heading] * steps}
    return entry | changes


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two whole videos of 6 s, 10 frames a second; one of them in the format in which it was downloaded."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_numbered(folder / f"{YOUTUBE}.mp4", count=60)
    write_numbered(folder / "other.mkv", count=60)
    return folder


def clip(annotations: Path, videos: Path, *more: str) -> int:
    return main([str(annotations), str(videos), str(videos.parent / "clips"), "--workers", "2", *more])


def frames_of(videos: Path, name: str) -> tuple[int, int]:
    """The first and the last picture of a clip, after a look at all in between."""
    numbers = [number for number, _ in numbers_and_seconds(videos.parent / "clips" / name)]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    return numbers[0], numbers[-1]


def made(videos: Path) -> set[str]:
    return {path.name for path in (videos.parent / "clips").iterdir()} - {"encoding.json", "failed.jsonl"}


def test_hirest(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are those that TimeIT's annotations have; a download of another format is found."""
    content = {
        "Crack an egg": {
            f"{YOUTUBE}.mp4": hirest_entry([2, 4]),
            "other.mp4": hirest_entry([0, 3.5]),
            "third.mp4": hirest_entry([0, 3], relevant=False),
        },
        "Fry it": {f"{YOUTUBE}.mp4": hirest_entry([1, 2], steps=0), "gone.mp4": hirest_entry([1, 2])},
    }
    assert clip(write_json(tmp_path / "all_data_train.json", content), videos) == 1
    assert made(videos) == {f"{YOUTUBE}_2_4.mp4", "other_0_3.5.mp4"}
    assert frames_of(videos, f"{YOUTUBE}_2_4.mp4") == (20, 39)
    assert frames_of(videos, "other_0_3.5.mp4") == (0, 34)
    printed = capsys.readouterr().out
    assert "made 2, were there 0, failed 1\n" in printed
    assert "2 entries need no clip: without steps\n" in printed
    assert "gone.mp4" in (tmp_path / "clips" / "failed.jsonl").read_text()


def test_valley_and_vatex(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of the id is an end, not a length, for which the published script takes it."""
    raw = [
        {"source": "VATEX", "v_id": f"{YOUTUBE}_000001_000004", "video": f"{YOUTUBE}.mp4", "conversations": TURNS},
        {"source": "VATEX", "v_id": f"{YOUTUBE}_000001_000004", "video": f"{YOUTUBE}.mp4", "conversations": TURNS},
        {"source": "jukinmedia", "v_id": "v_1000045", "video": "v_1000045.mp4", "conversations": TURNS},
        {"source": "VATEX", "v_id": f"{YOUTUBE}_000005_000015", "video": f"{YOUTUBE}_000005_000015.mp4"},
    ]
    assert clip(write_json(tmp_path / "valley.json", raw), videos) == 0
    assert made(videos) == {f"{YOUTUBE}_000001_000004.mp4"}
    assert frames_of(videos, f"{YOUTUBE}_000001_000004.mp4") == (10, 39)
    printed = capsys.readouterr().out
    assert "1 entry needs no clip: whole videos\n" in printed
    assert "1 entry needs no clip: clips already\n" in printed
    vatex = [{"videoID": f"{YOUTUBE}_{part}", "enCap": ["A frame."]} for part in ("000001_000004", "000004_000014")]
    assert clip(write_json(tmp_path / "vatex.json", vatex), videos) == 0
    assert frames_of(videos, f"{YOUTUBE}_000004_000014.mp4") == (40, 59)
    printed = capsys.readouterr().out
    assert "made 1, were there 1, failed 0\n" in printed
    assert "1 ends with its video, before the end that was asked for: " in printed
    assert "_000004_000014.mp4 by 8.00 s\n" in printed


def test_a_table(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"video,start,end,output\n{YOUTUBE}.mp4,0.5,1.5,sub/a.mp4\nother.mkv,5,5.1,b.mkv\n")
    assert clip(table, videos, "--fps", "5", "--short-side", "24") == 0
    assert [number for number, _ in numbers_and_seconds(tmp_path / "clips" / "sub" / "a.mp4")] == [5, 7, 9, 11, 13]
    assert frames_of(videos, "b.mkv") == (50, 50)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "video,start,end\na.mp4,1,2\n", "lacks the columns output"),
        ("a.csv", "video,start,end,output\na.mp4,one,2,b.mp4\n", "line 2: start is 'one': write seconds (83.5)"),
        ("a.csv", "video,start,end,output\na.mp4,3,2,b.mp4\n", "line 2: from 3 s to 2 s; give 0 <= start < end"),
        ("a.csv", "video,start,end,output\na.mp4,1,2,../b.mp4\n", "output '../b.mp4' must be a path inside the folder"),
        ("a.csv", "video,start,end,output\na.mp4,1,2,b.webm\n", "output 'b.webm' must end in one of .m4v, .mkv, "),
        ("a.csv", "video,start,end,output\na.mp4,1,2,b.mp4\na.mp4,1,3,b.mp4\n", "line 3: b.mp4 is named before"),
        ("a.csv", "video,start,end,output\n", "names no clip"),
        ("a.csv", 'video,start,end,output\na.mp4,1,2,"b.mp4\n', "line 2: a quote"),
        ("gone.csv", None, "no such annotation file"),
        ("a.json", '{"Fry": {"a.mp4": {"relevant": true, "clip": true, "steps": [1], "bounds": [1]}}}',
         "'Fry', a.mp4: bounds is [1]; it must be [start, end] in seconds"),
        ("a.json", '{"a.mp4": [1, 2]}', "'a.mp4' is no query of HiREST"),
        ("a.json", '[{"video": "a.mp4"}]', "item 0: has no v_id (Valley) and no videoID (VATEX)"),
        ("a.json", '[{"v_id": "Ptf_2VRj-V0_000004_000001", "video": "a.mp4"}]', "item 0: from 4 s to 1 s"),
        ("a.json", '[{"v_id": "v_1"}]', "names no clip (1 entry needs no clip: whole videos)"),
        ("a.json", "3", "expected the file of HiREST, Valley or VATEX"),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert clip(tmp_path / name, videos) == 1
    assert problem in capsys.readouterr().err


def test_a_table_of_a_spreadsheet_and_rows_that_are_wrong(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clocks, decimal commas and semicolons, as `convert mine` reads them; only the wrong rows are left out."""
    table = tmp_path / "clips.csv"
    rows = [f"{YOUTUBE}.mp4;0:01;1,5;a.mp4", "other.mkv;3;2;b.mp4", "other.mkv;x;2;c.mp4"]
    rows += ["other.mkv;1;2;d.mp4", "other.mkv;2;3;d.mp4"]
    table.write_text("Video;Start;End;Output\n" + "\n".join(rows) + "\n")
    assert clip(table, videos) == 1
    assert made(videos) == {"a.mp4"}
    assert frames_of(videos, "a.mp4") == (10, 14)
    printed = capsys.readouterr().out
    assert "wrong, and left out: 3\n" in printed
    assert "  line 3: from 3 s to 2 s; give 0 <= start < end\n" in printed
    assert "  line 6: d.mp4 is named before, as another clip; neither is cut\n" in printed


@pytest.mark.parametrize("output", ["videos", "videos/", ".", "videos/sub"])
def test_no_original_passes_for_a_clip(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """Whether clips would lie in the folder of the videos, or beside it, or some videos in that of the clips."""
    (videos / "sub").mkdir()
    (videos / "other.mkv").rename(videos / "sub" / "b.mkv")
    names = {".": (f"{YOUTUBE}.mp4", "videos/c.mp4"), "videos/sub": ("sub/b.mkv", "b.mkv")}
    video, name = names.get(output, (f"{YOUTUBE}.mp4", f"{YOUTUBE}.mp4"))
    (tmp_path / "clips.csv").write_text(f"video,start,end,output\n{video},0,1,{name}\n")
    before = {path: path.stat().st_mtime_ns for path in videos.rglob("*")}
    assert main([str(tmp_path / "clips.csv"), str(videos), str(tmp_path / output)]) == 1
    assert "give another" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in videos.rglob("*")} == before


def test_files_of_others_are_no_clips(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes((videos / f"{YOUTUBE}.mp4").read_bytes())
    (tmp_path / "clips.csv").write_text(f"video,start,end,output\n{YOUTUBE}.mp4,0,1,a.mp4\n")
    assert clip(tmp_path / "clips.csv", videos) == 1
    assert "clips/a.mp4: is there, but not made by this command" in capsys.readouterr().err


def test_a_missing_folder_of_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips.csv").write_text("video,start,end,output\na.mp4,0,1,a.mp4\n")
    assert main([str(tmp_path / "clips.csv"), str(tmp_path / "gone"), str(tmp_path / "clips")]) == 1
    assert "gone: no such folder of videos" in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()
