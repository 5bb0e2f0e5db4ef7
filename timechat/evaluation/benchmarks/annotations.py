"""Reading annotation files: text, JSON, the coco form, and the checks of their rows. Files of rows: `rows.py`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from timechat.errors import AnnotationError
from timechat.io import check_readable, sha256_of
from timechat.lfs import refuse_pointer
from timechat.wording import counted

MAX_LISTED = 10
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")  # the usual one first

Row = dict[str, Any]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escaped half of a character


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds, read once for questions and scores.

    Attributes:
        path: of the file or folder, for messages.
        rows: checked, one per question.
    """

    path: str | Path
    rows: list[Row]

    @property
    def sha256(self) -> str:
        """Of what the rows say, wherever and in whatever form they stood."""
        return sha256_of(json.dumps(self.rows, sort_keys=True, default=str))


def read_annotation_text(path: str | Path) -> str:
    """The text of an annotation file. Raises AnnotationError; FileError: it is a folder, or may not be read."""
    if not Path(path).is_file() and not Path(path).is_dir():
        raise AnnotationError(f"{path}: no such annotation file; correct its path, in an evaluation --anno-path")
    check_readable(path)
    refuse_pointer(path, AnnotationError)
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # some editors put a byte order mark at the front
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text ({error}); download it again") from error


def read_annotation_json(path: str | Path) -> Any:
    """A JSON annotation file. Raises AnnotationError."""
    return parse_annotation_json(path, read_annotation_text(path))


def parse_annotation_json(path: str | Path, text: str) -> Any:
    """The text of a JSON annotation file. Raises AnnotationError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not valid JSON ({error}); download it again") from error
    check_characters(path, text, content)
    return content


def json_or_text(where: str, line: str) -> Any:
    """A line as JSON, or the line itself if it is none, which the check of rows refuses. Raises AnnotationError."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return line
    check_characters(where, line, content)
    return content


def check_characters(where: str | Path, text: str, content: Any) -> None:
    """Refuse half a character (a lone surrogate), which no file and no tokenizer takes.

    Args:
        where: of the text, for the message.
        text: JSON.
        content: what it says.

    Raises:
        AnnotationError: naming the string.
    """
    if not _SURROGATE.search(text):
        return
    for string in _strings(content):
        try:
            string.encode("utf-8")
        except UnicodeEncodeError as error:
            raise AnnotationError(
                f"{where}: {ascii(string)[:60]} holds half a character (a lone surrogate, \\uD800 to \\uDFFF); write "
                "the whole character, or remove it"
            ) from error


def _strings(content: Any) -> Iterator[str]:
    """All strings of what a JSON text says, keys too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value)


def video_file(name: str) -> str:
    """The usual file of a video: `AO8RW` -> `AO8RW.mp4`; a name that has a suffix of videos keeps it."""
    return name if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES else f"{name}{VIDEO_SUFFIXES[0]}"


def with_all_suffixes(names: Iterable[str]) -> tuple[str, ...]:
    """The names, then the same ones in other containers; those of folders and other files stay as they are."""
    given = tuple(names)
    others = (
        str(PurePosixPath(name).with_suffix(suffix))
        for name in given
        if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES
        for suffix in VIDEO_SUFFIXES
    )
    return tuple(dict.fromkeys((*given, *others)))


def coco_rows(path: str | Path, content: Any) -> list[Any]:
    """The list under "annotations" of what a file in coco form holds. Raises AnnotationError."""
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(f'{path}: expected the coco form, {{"annotations": [...]}}, found {str(content)[:60]!r}')
    return rows


def check_rows(
    path: str | Path,
    rows: Iterable[tuple[str, Any]],
    check: Callable[[Row], Iterable[str]],
    id_of: Callable[[Row], str],
) -> list[Row]:
    """The rows, if every one passes.

    Args:
        path: of the file, for messages.
        rows: where each stands ("line 3"), and itself.
        check: problems of one row that is a dict, each naming the field.
        id_of: the row's id; ids must be unique.

    Raises:
        AnnotationError: listing every problem, or saying that the file is empty.
    """
    problems: list[str] = []
    good: list[Row] = []
    seen: dict[str, str] = {}
    for where, row in rows:
        found = list(check(row)) if isinstance(row, dict) else [f"expected an object, found {str(row)[:60]!r}"]
        if not found:
            first = seen.setdefault(id_of(row), where)
            found = [] if first == where else [f"id {id_of(row)!r} is used in {first} too; ids must be unique"]
        problems += [f"{where}: {problem}" for problem in found]
        good.append(row)
    if problems:
        rest = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        listed = "\n  ".join(problems[:MAX_LISTED])
        raise AnnotationError(f"{path}: {counted(len(problems), 'problem')}, correct or remove:\n  {listed}{rest}")
    if not good:
        raise AnnotationError(f"{path}: holds no annotations")
    return good


def text_problems(row: Row, key: str) -> Iterable[str]:
    """Problems of a field that must be a string with something in it."""
    if not isinstance(row.get(key), str) or not row[key].strip():
        yield f"{key} is {row.get(key)!r}: it must be a non-empty string"


def video_problems(row: Row, key: str) -> Iterable[str]:
    """Problems of a field that must name a file inside the folder of videos."""
    yield from text_problems(row, key)
    if isinstance(row.get(key), str):
        path = PurePosixPath(row[key])
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in row[key]:
            yield f"{key} {row[key]!r} points outside the folder of videos; write a relative path without .."


def id_problems(row: Row, key: str) -> Iterable[str]:
    """Problems of a field that must be a whole number or a string."""
    if isinstance(row.get(key), bool) or not isinstance(row.get(key), int | str):
        yield f"{key} is {row.get(key)!r}: it must be a number or a string that no other row has"


def interval_problems(value: Any, key: str) -> Iterable[str]:
    """Problems of a value that must be [start, end] in seconds, both finite and 0 or more."""
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(map(is_number, value))
    if not numbers or min(value) < 0:
        yield f"{key} is {value!r}: it must be [start, end] in seconds, both 0 or more"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False
