"""Rows of one's own: the forms of files, the forms of times, the tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.source_data import write_json

from timechat.data.convert import Conversion, convert
from timechat.data.reading import seconds_of, stem_of
from timechat.errors import AnnotationError

ANSWER = "The given query happens in 1.0 - 62.5 seconds."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "video,start,end,sentence\na.mp4,1,62.5,x y\n"),
        ("a.csv", "\ufeffVideo; Start ;END;Sentence;note\r\na.mp4;0:01;1:02.5;x y;mine\r\n"),
        ("a.csv", "video;start;end;sentence\na.mp4;1,0;1:02,5;x y\n"),
        ("a.tsv", "sentence\tend\tstart\tvideo\nx y\t0:01:02.5\t1.0\ta.mp4\n"),
        ("a.csv", 'video,start,end,sentence\n"a.mp4","1","62.5","x y"\n'),
        ("a.jsonl", '{"video": "a.mp4", "start": 1, "end": 62.5, "sentence": "x y"}\n'),
        ("a.json", '[{"video": "a.mp4", "start": "0:01", "end": 62.5, "sentence": "x y"}]'),
    ],
)
def test_forms_of_a_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, newline="")
    convert(Conversion("mine", tmp_path / name, tmp_path / "out.json"))
    (item,) = json.loads((tmp_path / "out.json").read_text())
    assert (item["video"], item["QA"][0]["a"]) == ("a.mp4", ANSWER)
    assert "'x y'" in item["QA"][0]["q"]


ROWS = [
    {"video": "b.mp4", "start": 5, "end": 6, "sentence": "Then he sits"},
    {"video": "a.mp4", "start": 0, "end": 1, "sentence": "a cat sleeps", "duration": 8},
    {"video": "b.mp4", "start": 1, "end": 2, "sentence": "He comes in."},
]


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("dense_captioning", "1.0 - 2.0 seconds, He comes in.  5.0 - 6.0 seconds, Then he sits."),
        ("step_localization", "1.0 - 2.0 seconds, He comes in.  5.0 - 6.0 seconds, Then he sits."),
        ("chapters", "1.0 seconds, He comes in.  5.0 seconds, Then he sits."),
    ],
)
def test_rows_of_a_video_make_one_answer_in_the_order_of_times(task: str, answer: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "rows.json", ROWS)
    convert(Conversion("mine", path, tmp_path / "out.json", tmp_path / "test.json", task=task))
    items = json.loads((tmp_path / "out.json").read_text())
    assert [item["video"] for item in items] == ["b.mp4", "a.mp4"]
    assert items[0]["QA"][0]["a"] == answer
    rows = json.loads((tmp_path / "test.json").read_text())["annotations"]
    later = [[1, 5], [5, 5]] if task == "chapters" else [[1, 2], [5, 6]]  # until the next one; the last end is unknown
    assert rows[0]["segments"] == later
    assert rows[1]["segments"] == ([[0, 8]] if task == "chapters" else [[0, 1]])


def test_chapters_need_no_column_of_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video,start,sentence\na.mp4,0:05,Intro\n")
    convert(Conversion("mine", tmp_path / "a.csv", tmp_path / "out.json", task="chapters"))
    (item,) = json.loads((tmp_path / "out.json").read_text())
    assert item["QA"][0]["a"] == "5.0 seconds, Intro."


def test_a_video_with_a_broken_row_has_no_complete_answer(tmp_path: Path) -> None:
    path = write_json(tmp_path / "rows.json", [*ROWS, {"video": "b.mp4", "start": 9, "end": 7, "sentence": "x"}])
    summary = convert(Conversion("mine", path, tmp_path / "out.json", task="dense_captioning"))
    assert [item["video"] for item in json.loads((tmp_path / "out.json").read_text())] == ["a.mp4"]
    assert (summary.broken, summary.left_out) == (1, {"another row of the video is broken": 1})


def test_a_line_with_too_many_fields_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video,start,end,sentence\na.mp4,0,1,he runs, then stops\nb.mp4,0,1,x\n")
    summary = convert(Conversion("mine", tmp_path / "a.csv", tmp_path / "out.json"))
    assert (summary.converted, summary.bad[0].where) == (1, "line 2")
    assert "put text with ',' in it in quotes" in summary.bad[0].problem


def test_a_comma_is_no_decimal_point_between_commas(tmp_path: Path) -> None:
    """There "1,500" may as well be a thousand."""
    (tmp_path / "a.csv").write_text('video,start,end,sentence\na.mp4,"1,500",9,x\nb.mp4,1,2,y\n')
    summary = convert(Conversion("mine", tmp_path / "a.csv", tmp_path / "out.json"))
    assert [bad.where for bad in summary.bad] == ["line 2"]


def test_an_unclosed_quote_swallows_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('video,start,end,sentence\nk.mp4,1,2,"unclosed\nb.mp4,2,3,x\n')
    with pytest.raises(AnnotationError, match=r"a\.csv, line 2: a quote"):
        convert(Conversion("mine", tmp_path / "a.csv", tmp_path / "new" / "out.json"))
    assert not (tmp_path / "new").exists()


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(AnnotationError, match="is empty; its first line must name the columns video, start"):
        convert(Conversion("mine", tmp_path / "a.csv", tmp_path / "out.json"))


def test_broken_rows_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = ["b.mp4,1,2,x", "c.mp4,5,4,x", "../../a.mp4,1,2,x", "d.mp4,9,8,x"]
    (tmp_path / "a.csv").write_text("video,start,end,sentence\n" + "\n".join(lines) + "\n")
    asked = Conversion("mine", tmp_path / "a.csv", tmp_path / "out.json", task="dense_captioning")
    assert [bad.where for bad in convert(asked).listed] == ["line 3", "line 4", "line 5"]


@pytest.mark.parametrize(
    ("value", "seconds"), [(3, 3.0), ("83.5", 83.5), ("1:23.5", 83.5), ("1:02:03", 3723.0), (" 0:05 ", 5.0)]
)
def test_times_as_people_write_them(value: str | float, seconds: float) -> None:
    assert seconds_of(value, "start") == seconds


def test_ids_lose_suffixes_of_videos_alone() -> None:
    assert [stem_of(name) for name in ("a.mp4", "b/c.MOV", "v_x_210.0_360.0")] == ["a", "b/c", "v_x_210.0_360.0"]
