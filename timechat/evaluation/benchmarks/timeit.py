"""TimeIT's form for training, as far as the controls of benchmarks read it: what is said about which video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from timechat.errors import AnnotationError, ParseFailure
from timechat.evaluation.benchmarks.annotations import read_annotation_json

Parsed = TypeVar("Parsed")

_HEAD = 4096  # bytes within which a file begins, white space aside


def is_timeit(path: str | Path) -> bool:
    """Whether a file is in this form, as its beginning tells: a JSON list, called *.json, whose first item has QA."""
    if Path(path).suffix != ".json" or not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"[") and b'"QA"' in head


def read_timeit(path: str | Path, parse: Callable[[str], Parsed]) -> list[tuple[str, str, Parsed]]:
    """Every turn of a TimeIT file (`[{"video", "QA": [{"q", "a"}, ...]}, ...]`) as (video, question, parsed answer).

    Args:
        path: a file for which `is_timeit` holds.
        parse: reads an answer.

    Raises:
        AnnotationError: an item without video or QA, or an answer to another kind of question.
    """
    content = read_annotation_json(path)
    turns = [turn for index, item in enumerate(content) for turn in _turns(f"{path}: item {index}", item, parse)]
    if not turns:
        raise AnnotationError(f"{path}: holds no items; give the annotations of the train split")
    return turns


def _turns(where: str, item: Any, parse: Callable[[str], Parsed]) -> list[tuple[str, str, Parsed]]:
    pairs = item.get("QA") if isinstance(item, dict) and isinstance(item.get("video"), str) else None
    if not isinstance(pairs, list):
        raise AnnotationError(f'{where}: needs "video" and "QA", as TimeIT has them; found {str(item)[:60]!r}')
    turns = []
    for number, pair in enumerate(pairs):
        if not isinstance(pair, dict) or not all(isinstance(pair.get(key), str) for key in ("q", "a")):
            raise AnnotationError(f'{where}, QA {number}: needs the strings "q" and "a"; found {str(pair)[:60]!r}')
        try:
            turns.append((item["video"], pair["q"], parse(pair["a"])))
        except ParseFailure as failure:
            raise AnnotationError(
                f"{where}, QA {number}: {failure}; give the train split of this task only"
            ) from failure
    return turns
