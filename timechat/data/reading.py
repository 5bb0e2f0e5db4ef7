"""Reading sources' files: each part with its place, and each field with a check whose message names it.

A source turns parts into records in a function that raises `BadPart` at the first thing that is wrong; `parse` makes a
`Bad` of it, and goes on with the next part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.data.records import Bad, LeftOut, Record, Window
from timechat.datasets.tables import Table
from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    is_number,
    json_or_text,
    parse_annotation_json,
    read_annotation_json,
    read_annotation_text,
)
from timechat.evaluation.benchmarks.rows import PARQUET, Rows, read_annotations
from timechat.registry import nearest

Found = Record | Bad | LeftOut
Placed = tuple[str, Any]

_VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".flv"}
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")
_DECIMAL_COMMA = re.compile(r"(\s*[\d:]+),(\d+\s*)")


class BadPart(Exception):
    """What is wrong with one part of a file, in words that name the field."""


@dataclass(frozen=True)
class Broken:
    """In the place of a part that could not be read: why."""

    problem: str


class OutByRule(Exception):
    """Why one part of a file, without a fault, is left out."""


def parse(placed: Iterable[Placed], make: Callable[[str, Any], Record]) -> Iterator[Found]:
    """The record of each part, or what is wrong with it.

    Args:
        placed: where each part stands, and itself.
        make: its record; raises BadPart or OutByRule.
    """
    for where, part in placed:
        try:
            yield make(where, part)
        except BadPart as bad:
            yield Bad(where, str(bad))
        except OutByRule as rule:
            yield LeftOut(where, str(rule))


# Files ----------------------------------------------------------------------------------------------------------------


def text_lines(path: Path) -> list[Placed]:
    """The lines of a text file that are not empty. Raises AnnotationError."""
    return [
        (f"line {number}", line.strip())
        for number, line in enumerate(read_annotation_text(path).split("\n"), 1)
        if line.strip()
    ]


def json_rows(path: Path) -> list[Placed]:
    """The rows of a JSON list, of JSON lines whatever they are called, or of parquet; a broken line is its text.

    Raises:
        AnnotationError: the file holds something else.
    """
    if path.suffix == PARQUET:
        content = read_annotations(path)
        return content.placed if isinstance(content, Rows) else []
    text = read_annotation_text(path)
    if text.lstrip().startswith("["):
        content = parse_annotation_json(path, text)
        return [(f"item {number}", row) for number, row in enumerate(content)]
    lines = enumerate(text.split("\n"), 1)
    return [(f"line {n}", json_or_text(f"{path}, line {n}", line)) for n, line in lines if line.strip()]


def json_object(path: Path, expected: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Args:
        expected: what that looks like, for the message.

    Raises:
        AnnotationError: it is no JSON, or something else.
    """
    content = read_annotation_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected {expected}, found {str(content)[:60]!r}; give the file as downloaded")
    return content


def csv_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), times: Sequence[str] = ()
) -> Iterator[Placed]:
    """The rows of a CSV file, read as they are asked for: comma, semicolon or tab, whichever its head has most of.

    Names of columns may be written in any case. A line that cannot be divided into the columns is Broken.

    Args:
        columns, optional: those that must be there, and those that may.
        times: those with times. Between semicolons these may have a decimal comma, as spreadsheets write them that
            separate with semicolons; it becomes a point.

    Raises:
        AnnotationError: a column is missing, the file is not text, or a quote is never closed.
    """
    with Table(path, ",;\t") as table:
        names = {name: name.strip().lower() for name in table.columns}
        if missing := [name for name in columns if name.lower() not in names.values()]:
            raise AnnotationError(f"{path}: {_lacking(missing, [name for name in names.values() if name])}")
        wanted = {name.lower(): name for name in (*columns, *optional)}
        for row in table.rows():
            where = f"line {row.line}"
            if row.problem:
                yield where, Broken(row.problem)
                continue
            part = {wanted[low]: row.fields[name] for name, low in names.items() if low in wanted}
            if table.delimiter == ";":
                part |= {name: _with_point(part[name]) for name in times if name in part}
            yield where, part


def _lacking(missing: Sequence[str], found: Sequence[str]) -> str:
    if not found:
        return f"is empty; its first line must name the columns {', '.join(missing)}"
    hints = nearest(missing[0], list(found))
    return f"lacks the columns {', '.join(missing)}{hints}; its first line has {', '.join(found)}"


def _with_point(text: str | None) -> str | None:
    found = _DECIMAL_COMMA.fullmatch(text or "")
    return f"{found[1]}.{found[2]}" if found else text


# Fields ---------------------------------------------------------------------------------------------------------------


def an_object(part: Any) -> Mapping[str, Any]:
    """A part that is an object. Raises BadPart."""
    if isinstance(part, Broken):
        raise BadPart(part.problem)
    if not isinstance(part, Mapping):
        raise BadPart(f"expected an object, found {str(part)[:60]!r}")
    return part


def text_of(row: Mapping[str, Any], key: str) -> str:
    """A field that is text with something in it. Raises BadPart."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadPart(f"{key} is {_shown(row, key)}: it must be text")
    return value.strip()


def list_of(row: Mapping[str, Any], key: str) -> list[Any]:
    """A field that is a list with something in it. Raises BadPart."""
    value = row.get(key)
    if not isinstance(value, list) or not value:
        raise BadPart(f"{key} is {_shown(row, key)}: it must be a list of one or more")
    return value


def number_of(value: Any, name: str) -> float:
    """A finite number, 0 or more. Raises BadPart."""
    if not is_number(value) or value < 0:
        raise BadPart(f"{name} is {value!r}: it must be a number, 0 or more")
    return float(value)


def window_of(value: Any, name: str) -> Window:
    """[start, end] in seconds, start not after end. Raises BadPart."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadPart(f"{name} is {str(value)[:60]}: it must be [start, end] in seconds")
    start, end = number_of(value[0], f"start of {name}"), number_of(value[1], f"end of {name}")
    if start > end:
        raise BadPart(f"{name} is [{start:g}, {end:g}]: it starts after its end")
    return start, end


def seconds_of(value: Any, name: str) -> float:
    """A time as people write it: 83.5, "83.5" or "1:23.5". Raises BadPart."""
    if isinstance(value, str):
        text = value.strip()
        if clock := _CLOCK.fullmatch(text):
            hours, minutes, seconds = clock.groups()
            return 3600.0 * int(hours or 0) + 60 * int(minutes) + float(seconds)
        try:
            return number_of(float(text), name)
        except ValueError:
            raise BadPart(f"{name} is {value!r}: write seconds (83.5) or a clock (1:23.5)") from None
    return number_of(value, name)


def duration_of(row: Mapping[str, Any], key: str = "duration") -> float | None:
    """The length of the video, where the file says it. Raises BadPart: it is no number above 0."""
    if row.get(key) is None:
        return None
    if not is_number(row[key]) or row[key] <= 0:
        raise BadPart(f"{key} is {row[key]!r}: it must be seconds, more than 0")
    return float(row[key])


def stem_of(name: str) -> str:
    """A video's id: its name without a suffix of videos."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in _VIDEO_SUFFIXES else name


def _shown(row: Mapping[str, Any], key: str) -> str:
    return repr(row[key])[:60] if key in row else "missing"
