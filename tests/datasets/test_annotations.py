"""Annotation files: every problem listed at once."""

from __future__ import annotations

import csv
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import QA, write_json

from timechat.datasets.annotations import CAPTION_QUESTION, Item, read_captions, read_instructions
from timechat.errors import AnnotationError

GOOD = {"video": "a.mp4", "QA": QA}


def read(tmp_path: Path, content: Any, media: str = "video") -> list[Item]:
    """Write a list of items and read it."""
    return read_instructions(write_json(tmp_path / "anno.json", content), tmp_path / "videos", media)


# Annotation files -----------------------------------------------------------------------------------------------------


def test_a_good_file(tmp_path: Path) -> None:
    two = [*QA, {"q": "Who?", "a": "The chef."}]
    items = read(tmp_path, [GOOD, {"video": "sub/b.mp4", "QA": two, "source": "yttemporal", "id": 3}])
    assert items == [Item("a.mp4", tuple(QA)), Item("sub/b.mp4", tuple(two), "yttemporal")]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"QA": QA}, "video is missing: it must be a path relative to "),
        ({"video": 3, "QA": QA}, 'video is the number 3: it must be a path relative to .*, such as "3.mp4"'),
        ({"video": None, "QA": QA}, "video is null: it must be a path relative to "),
        ({"video": ["a.mp4"], "QA": QA}, "video is a list: it must be a path"),
        ({"video": "", "QA": QA}, "video is empty: it must be a path"),
        ({"video": "../x.mp4", "QA": QA}, "video '../x.mp4' points outside of videos_dir "),
        ({"video": "a/../../x.mp4", "QA": QA}, "video .* points outside"),
        ({"video": "/etc/passwd", "QA": QA}, "video '/etc/passwd' points outside"),
        ({"video": "../videos2/x.mp4", "QA": QA}, "video .* points outside"),
        ({"video": "a\0.mp4", "QA": QA}, "video .* points outside"),
        ({"video": "a.mp4"}, "QA is missing: it must be a list of {q, a}"),
        ({"video": "a.mp4", "QA": []}, "QA is empty"),
        ({"video": "a.mp4", "QA": "text"}, "QA is the text 'text': it must be a list"),
        ({"video": "a.mp4", "QA": {"q": "x", "a": "y"}}, r"QA is an object: it must be a list; write \[\{...\}\]"),
        ({"video": "a.mp4", "QA": [*QA, {"q": "x", "a": " \n"}]}, r"QA\[1\].a is empty: it must be text"),
        ({"video": "a.mp4", "QA": [{"q": "x"}]}, r"QA\[0\]\.a is missing, the keys are q: it must be text"),
        (
            {"video": "a.mp4", "QA": [{"question": "x", "a": "y"}]},
            r"QA\[0\]\.q is missing, the keys are question, a: it must be text",
        ),
        (
            {"video": "a.mp4", "QA": [{"q": "x", "a": 3.5}]},
            r'QA\[0\]\.a is the number 3.5: .* text; write "3.5"',
        ),
        ({"video": "a.mp4", "QA": [{"q": None, "a": "x"}]}, r"QA\[0\]\.q is null: it must be text"),
        ({"video": "a.mp4", "QA": [{"q": "x", "a": True}]}, r"QA\[0\]\.a is true: it must be text"),
        ({"video": "a.mp4", "QA": [{"q": "x", "a": ["y"]}]}, r"QA\[0\]\.a is a list: it must be text"),
        ({"video": "a.mp4", "QA": ["x"]}, r"QA\[0\] is the text 'x': it must be an object with q and a"),
        ({"video": "a.mp4", "QA": [{"q": "x", "a": "\ud83c"}]}, r"QA\[0\].a contains half of a surrogate pair"),
        (
            {"video": "a.mp4", "QA": [*QA, {"q": "<ImageHere> x", "a": "y"}]},
            r"QA\[1\].q contains <ImageHere>, the placeholder",
        ),
        (
            {"video": "a.mp4", "conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]},
            r"conversations\[0\].from is 'gpt': turns must alternate, human first; expected 'human'",
        ),
        (
            {"video": "a.mp4", "conversations": [{"from": "human", "value": "x"}] * 2},
            r"conversations\[1\].from is 'human': .*; expected 'gpt'",
        ),
        (
            {"video": "a.mp4", "conversations": [{"from": "human", "value": "x"}]},
            r"conversations\[1\].value is missing: it must be text",
        ),
        (
            {
                "video": "a.mp4",
                "conversations": [{"from": "human", "value": " <video>"}, {"from": "gpt", "value": 7}],
            },
            r"conversations\[0\].value is empty: .*\n.*conversations\[1\].value is the number 7: it must be text",
        ),
        ({"video": "a.mp4", "conversations": "x"}, "conversations is the text 'x': it must be a list"),
        ({"video": "a.mp4", "conversations": []}, "conversations is empty"),
        ("text", "expected an object with video and QA, found 'text'"),
        (None, "expected an object with video and QA"),
    ],
)
def test_a_bad_item(tmp_path: Path, entry: Any, problem: str) -> None:
    """The message names file, item, field and fix; good items around it do not hide it."""
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, [GOOD, entry, GOOD])
    message = str(caught.value)
    assert f"{tmp_path / 'anno.json'}: " in message
    assert re.search(f"item 1: {problem}", message)
    assert "item 0" not in message
    assert "item 2" not in message


CROP = {"source": "VATEX", "v_id": "Ptf_2VRj-V0_000122_000132", "video": "Ptf_2VRj-V0.mp4", "QA": QA}


def test_raw_valley_names_the_whole_video_beside_the_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The turns are about ten seconds of it; once the clips are cut, `video` names them."""
    cut = [CROP | {"video": video} for video in ("sub/Ptf_2VRj-V0_000122_000132.mp4", "Ptf_2VRj-V0_000122_000132.webm")]
    jukin = {"source": "jukinmedia", "v_id": "v_1000045", "video": "v_1000045.mp4", "QA": QA}
    with caplog.at_level(logging.INFO):
        items = read(tmp_path, [CROP, CROP | {"video": "raw/7.mkv"}, *cut, jukin])
    assert [(item.start, item.end) for item in items] == [(122.0, 132.0)] * 2 + [(None, None)] * 3
    assert "2 of 5 items with the whole video in `video`, which is read from the start to the end" in caplog.text
    assert "timechat data clip cuts such clips once" in caplog.text


def test_an_empty_clip(tmp_path: Path) -> None:
    with pytest.raises(
        AnnotationError, match="item 0: v_id 'Ptf_2VRj-V0_000132_000122' names a clip from 132 s to 122 s"
    ):
        read(tmp_path, [CROP | {"v_id": "Ptf_2VRj-V0_000132_000122"}])


def test_paths_that_go_up_and_down_again_stay_inside(tmp_path: Path) -> None:
    assert read(tmp_path, [{"video": "a/../b.mp4", "QA": QA}])[0].path == "a/../b.mp4"


def test_all_problems_are_listed_together_and_counted(tmp_path: Path) -> None:
    bad = {"video": "../x.mp4", "QA": [{"q": "", "a": ""}]}
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, [bad] * 5)
    lines = str(caught.value).splitlines()
    assert "15 problems, correct or remove these items:" in lines[0]
    assert len(lines) == 12
    assert lines[-1] == "  and 5 more"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe[]", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (
            b'{"data": [], "n": 3}',
            "expected a JSON list of items, found an object with the keys data, n; write",
        ),
        (b'{"a.mp4": {}}', "expected a JSON list of items, found an object with the keys a.mp4$"),
        (b"3", "expected a JSON list of items, found the number 3"),
        (b"[]", "the list is empty; training needs at least one item"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "anno.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"anno\.json: {message}"):
        read_instructions(path, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_lines_are_read_as_a_list(tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the file is called; that it was so is said."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "anno.json"
    path.write_text("\n".join(json.dumps(GOOD | {"video": name}) for name in ("a.mp4", "b.mp4")) + "\n\n", encoding)
    assert [item.path for item in read_instructions(path, tmp_path)] == ["a.mp4", "b.mp4"]
    assert f"{path}: has one item a line (JSON lines) instead of a JSON list; 2 items" in caplog.text
    path.write_text(json.dumps(GOOD))
    assert [item.path for item in read_instructions(path, tmp_path)] == ["a.mp4"]


def test_problems_of_json_lines_name_the_item_or_the_line(tmp_path: Path) -> None:
    path = tmp_path / "anno.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps({'video': 3})}\n")
    with pytest.raises(AnnotationError, match=r"item 1: video is the number 3.*\n +item 1: QA is missing"):
        read_instructions(path, tmp_path)
    path.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)[:20]}")
    with pytest.raises(AnnotationError, match=r"anno\.jsonl, line 3: not valid JSON .* one item a line"):
        read_instructions(path, tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "anno.json").write_text(json.dumps([{"video": "a.mp4", "QA": QA}]), encoding="utf-8-sig")
    assert [item.path for item in read_instructions(tmp_path / "anno.json", tmp_path)] == ["a.mp4"]
    (tmp_path / "anno.csv").write_text("videoid,page_dir,name\n1,x,a cat\n", encoding="utf-8-sig")
    assert [item.path for item in read_captions(tmp_path / "anno.csv", tmp_path)] == ["x/1.mp4"]


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    for reader in (read_instructions, read_captions):
        with pytest.raises(AnnotationError, match=r"gone: no such annotation file; .*build_info\.anno_dir"):
            reader(tmp_path / "gone", tmp_path)


def test_llava_conversations_alternate_and_lose_their_mark(tmp_path: Path) -> None:
    texts = ["<image>\nWhat is it?", "A cat.", "Where?", "Here."]
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]
    (item,) = read(tmp_path, [{"image": "x.jpg", "conversations": turns}], media="image")
    assert item == Item("x.jpg", ({"q": "What is it?", "a": "A cat."}, {"q": "Where?", "a": "Here."}))
    turns[0]["value"] = "What is it?\n<video>"
    (item,) = read(tmp_path, [{"video": "x.mp4", "conversations": turns}])
    assert item.qa[0]["q"] == "What is it?"


# Captions -------------------------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV file with the columns of the first row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_captions_answer_one_question(tmp_path: Path) -> None:
    rows = [
        {"videoid": "17", "page_dir": "00_05", "name": "A cat, asleep"},
        {"videoid": "8", "page_dir": "", "name": "B"},
    ]
    items = read_captions(write_rows(tmp_path / "a.csv", rows), tmp_path)
    assert items == [
        Item("00_05/17.mp4", ({"q": CAPTION_QUESTION, "a": "A cat, asleep"},)),
        Item("8.mp4", ({"q": CAPTION_QUESTION, "a": "B"},)),
    ]


def test_bad_rows_are_listed(tmp_path: Path) -> None:
    rows = [
        {"page_dir": "x", "name": "good", "videoid": "1"},
        {"page_dir": "../..", "name": "up", "videoid": "2"},
        {"page_dir": "x", "name": " ", "videoid": "3"},
        {"page_dir": "x", "name": "no id", "videoid": ""},
    ]
    path = write_rows(tmp_path / "a.csv", rows)
    with path.open("a") as file:
        file.write("x,short row\n")
    with pytest.raises(AnnotationError) as caught:
        read_captions(path, tmp_path / "videos")
    message = str(caught.value)
    assert "4 problems" in message
    assert "row 1: video '../../2.mp4' points outside" in message
    assert "row 2: QA[0].a is empty" in message
    assert "row 3: video is empty" in message
    assert "row 4: video is empty" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", ": lacks the columns name, page_dir, videoid"),
        (b"", ": lacks the columns name, page_dir, videoid"),
        (b"videoid,page_dir,name\n", ": has no rows"),
        (b"videoid,page_dir,name\n1,\xff,x\n", ": not a CSV file in UTF-8"),
        (b"videoid,page_dir,name\n1,x," + b"y" * 200_000 + b"\n", r", line 2: is not CSV \(field larger"),
    ],
)
def test_files_that_are_no_captions(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"a\.csv{message}"):
        read_captions(path, tmp_path)


def test_json_of_other_writers_reads_the_same(tmp_path: Path) -> None:
    """Escaped and plain characters are one text."""
    qa = [{"q": "Où?", "a": "Ici 🎬."}]
    for ascii_only in (True, False):
        path = tmp_path / "anno.json"
        path.write_text(json.dumps([{"video": "é.mp4", "QA": qa}], ensure_ascii=ascii_only), encoding="utf-8")
        assert read_instructions(path, tmp_path) == [Item("é.mp4", tuple(qa))]
