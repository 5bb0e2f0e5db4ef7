"""Annotation files that are read in pieces: the same entries and the same errors as when they are read as a whole."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from timechat.datasets import entries
from timechat.datasets.entries import iter_entries, read_json
from timechat.errors import AnnotationError

VALUES: list[Any] = [
    {"video": "a.mp4", "QA": [{"q": "Wann?", "a": 'At "3.0 - 4.5" seconds, [then] {stop}, \\ ü 🎬'}]},
    {"video": "b.mp4", "QA": []},
    {},
    [],
    [[], {"a": [1]}],
    12345,
    -1.5e3,
    0,
    "text, with ] and }",
    "",
    None,
    True,
]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 1])
def test_pieces_of_any_length_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, indent: int | None
) -> None:
    monkeypatch.setattr(entries, "_CHUNK", piece)
    path, rng = tmp_path / "list.json", random.Random(0)
    for length in (0, 1, 2, 9):
        content = [rng.choice(VALUES) for _ in range(length)]
        for text in (json.dumps(content, indent=indent), f"\n\t {json.dumps(content, ensure_ascii=False)} \n"):
            path.write_text(text, encoding="utf-8")
            assert list(iter_entries(path, "video")) == content


@pytest.mark.parametrize("piece", [1, 5, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1]]",
        "[1] x",
        "{",
        '[{"a": 1}',
        '["a',
        "[tru]",
        "[01]",
        "x",
    ],
)
def test_what_is_no_json_is_refused_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, text: str
) -> None:
    monkeypatch.setattr(entries, "_CHUNK", piece)
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(AnnotationError) as whole:
        read_json(path)
    with pytest.raises(AnnotationError) as pieces:
        list(iter_entries(path, "video"))
    assert str(pieces.value) == str(whole.value)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"version": 1, "data": [{}]}')
    with pytest.raises(AnnotationError, match=r"found an object with the keys version, data; write the list of 'data'"):
        list(iter_entries(path, "video"))


def test_memory_is_that_of_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "_CHUNK", 10_000)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"video": f"{number}.mp4", "text": "x" * 1000} for number in range(2000)]))
    tracemalloc.start()
    try:
        assert sum(1 for _ in iter_entries(path, "video")) == 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 4
