"""The entries of an annotation file as they stand there, one after the other: files may be larger than memory.

A file is a JSON list, has one entry a line (JSON lines), or is WebVid's CSV.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from timechat.datasets.tables import Table
from timechat.errors import AnnotationError
from timechat.io import check_readable
from timechat.lfs import refuse_pointer
from timechat.wording import counted

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20  # characters
_BLANKS = re.compile(r"[ \t\r\n]*")
_HEAD = 64  # characters
_AFTER_VALUE = frozenset(" \t\r\n,]")
_COLUMNS = {"videoid", "page_dir", "name"}


def iter_entries(path: str | Path, media: str) -> Iterator[Any]:
    """The entries of a JSON list or of JSON lines, not yet checked.

    Args:
        path: the file.
        media: the key of an entry that names its file; a single line without it is no entry.

    Raises:
        AnnotationError: naming the file, the line if there are lines, and the fix.
    """
    path = Path(path)
    must_exist(path)
    yield from _lines(path) if _has_lines(path, media) else _list(path)


def iter_rows(path: str | Path) -> Iterator[dict[str, str | None]]:
    """The rows of WebVid's CSV (columns videoid, page_dir, name). Raises AnnotationError."""
    path = Path(path)
    must_exist(path)
    with Table(path) as table:
        if missing := _COLUMNS - set(table.columns):
            raise AnnotationError(f"{path}: lacks the columns {', '.join(sorted(missing))}; expected WebVid's CSV")
        for row in table.rows():
            if row.problem:
                raise AnnotationError(f"{path}, line {row.line}: {row.problem}")
            yield row.fields


def read_json(path: str | Path) -> Any:
    """The content of a JSON annotation file. Raises AnnotationError."""
    must_exist(Path(path))
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, bad UTF-8, numbers of thousands of digits
        raise AnnotationError(f"{path}: not valid JSON ({error}); download or write the file again") from error


def must_exist(path: Path) -> None:
    """Raise AnnotationError if there is no such file, or a git-lfs pointer in its place; FileError: it is a folder, or
    may not be read."""
    if not path.is_file() and not path.is_dir():
        raise AnnotationError(f"{path}: no such annotation file; correct its path, in a config build_info.anno_dir")
    check_readable(path)
    refuse_pointer(path, AnnotationError)


def in_words(value: Any) -> str:
    """A value of JSON, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:60]!r}" if value else "empty"
    return "a list" if isinstance(value, list) else "an object"


def _has_lines(path: Path, media: str) -> bool:
    """Whether the first line is an entry."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            if file.read(_HEAD).lstrip()[:1] == "[":
                return False  # perhaps all in one line
            file.seek(0)
            lines = (line for line in file if line.strip())
            first = next(lines, "")
            return first.lstrip().startswith("{") and (media in json.loads(first) or next(lines, None) is not None)
    except (ValueError, RecursionError):  # JSON over several lines, or none
        return False


def _lines(path: Path) -> Iterator[Any]:
    count = 0
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(_text(path, file), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line.lstrip("\ufeff"))
            except (ValueError, RecursionError) as error:
                raise AnnotationError(
                    f"{path}, line {number}: not valid JSON ({error}); the file has one item a line: correct or remove "
                    "it"
                ) from error
            count += 1
            yield entry
    items = counted(count, "item")
    logger.info("%s: has one item a line (JSON lines) instead of a JSON list; %s", path, items)


def _text(path: Path, lines: Iterator[str]) -> Iterator[str]:
    """Lines of text. Raises AnnotationError: they are not."""
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not valid JSON ({error}); download or write the file again") from error


def _list(path: Path) -> Iterator[Any]:
    """The entries of a JSON list, without the whole of it in memory."""
    with path.open(encoding="utf-8-sig") as file:
        text = _Text(path, file)
        if text.sign() != "[":
            _refuse(path)
        text.skip_sign()
        if text.sign() != "]":
            yield text.value()
            while text.sign() == ",":
                text.skip_sign()
                yield text.value()
        if text.sign() != "]":
            _refuse(path)
        text.skip_sign()
        if text.sign():
            _refuse(path)


class _Text:
    """JSON that is read in pieces."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._pieces = path, _text(path, iter(lambda: file.read(_CHUNK), ""))
        self._text, self._place = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def sign(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            found = _BLANKS.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text) or not self._read():
                return self._text[self._place : self._place + 1]

    def skip_sign(self) -> None:
        """Go on behind that character."""
        self._place += 1

    def value(self) -> Any:
        """The next value. Raises AnnotationError."""
        self.sign()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
                if self._text[end : end + 1] in _AFTER_VALUE:  # else it may be a part of a longer number
                    self._place = end
                    return value
            except (ValueError, RecursionError):  # or it goes on in the next piece
                pass
            if not self._read():
                _refuse(self._path)

    def _read(self) -> bool:
        piece = next(self._pieces, "")
        self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)


def _refuse(path: Path) -> NoReturn:
    """Raise AnnotationError for a file that is no JSON list: what reading the whole of it finds."""
    content = read_json(path)
    found = in_words(content)
    if isinstance(content, dict):
        found += f" with the keys {', '.join(list(content)[:5])}" if content else " without keys"
        lists = [key for key, value in content.items() if isinstance(value, list)]
        found += f"; write the list of {lists[0]!r} alone" if len(lists) == 1 else ""
    raise AnnotationError(f"{path}: expected a JSON list of items, found {found}")
