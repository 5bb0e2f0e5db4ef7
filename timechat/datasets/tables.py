"""CSV files: each row with the line at which it begins, and no row lost in a quote that is not closed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timechat.errors import AnnotationError
from timechat.io import check_readable

_NUMBER = re.compile(r"\s*\d[\d:.,]*\s*")


@dataclass(frozen=True)
class TableRow:
    """A row.

    Attributes:
        line: at which it begins.
        fields: by the names of the columns; None where the row is shorter.
        problem: why it cannot be read; "" if it can.
    """

    line: int
    fields: dict[str, str | None]
    problem: str = ""


class Table:
    """An open CSV file; use it in a `with` block.

    Args:
        path: a file of text in UTF-8, whose first line names the columns.
        delimiters: that may separate them; the one that the first line has most of does.

    Attributes:
        columns: their names.
        delimiter: between them.

    Raises:
        AnnotationError: it is not text, or its first line cannot be read.
        FileError: it cannot be opened.
    """

    def __init__(self, path: Path, delimiters: str = ",") -> None:
        check_readable(path)
        self._path = path
        self._file = path.open(newline="", encoding="utf-8-sig")
        try:
            head = self._file.readline()
            self.delimiter = max(delimiters, key=head.count)
            self._file.seek(0)
            self._reader = csv.reader(self._file, delimiter=self.delimiter, strict=True)
            _, self.columns, problem = self._next() or (1, [], "")
            if problem:
                raise AnnotationError(f"{path}, line 1: {problem}")
        except UnicodeDecodeError as error:
            self._file.close()
            raise self._no_text(error) from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def rows(self) -> Iterator[TableRow]:
        """The rows that are not empty, in order. Raises AnnotationError: a quote is never closed, or it is not text."""
        width = len(self.columns)
        while found := self._next():
            line, fields, problem = found
            if not problem and len(fields) > width:
                problem = f"has more fields than columns: put text with {self.delimiter!r} in it in quotes"
            padded: list[str | None] = [*fields[:width], *[None] * (width - len(fields))]
            if fields or problem:
                yield TableRow(line, dict(zip(self.columns, padded, strict=True)), problem)

    def _next(self) -> tuple[int, list[str], str] | None:
        """The line at which the next row begins, its fields, and what is wrong with it; None at the end."""
        line = self._reader.line_num + 1
        try:
            fields = next(self._reader, None)
        except csv.Error as error:
            return line, [], self._problem(line, error)
        except UnicodeDecodeError as error:
            raise self._no_text(error) from error
        if fields is None:
            return None
        swallowed = self._reader.line_num > line and any(map(self._holds_a_row, fields))
        return line, fields, self._unclosed(line) if swallowed else ""

    def _no_text(self, error: UnicodeDecodeError) -> AnnotationError:
        return AnnotationError(f"{self._path}: not a CSV file in UTF-8 ({error}); save it so")

    def _problem(self, line: int, error: csv.Error) -> str:
        if "unexpected end" in str(error):
            raise AnnotationError(
                f'{self._path}, line {line}: a quote (") is opened and never closed, so that the file ends inside of '
                "this row; close it, or write a quote inside of a text twice, and the text in quotes"
            ) from error
        if self._reader.line_num > line:
            return self._unclosed(line)
        return f"is not CSV ({error}): put text with quotes in it in quotes, and write each of its own twice"

    def _unclosed(self, line: int) -> str:
        return f'a quote (") opens here and takes in the lines up to {self._reader.line_num}: close it'

    def _holds_a_row(self, field: str) -> bool:
        """Whether a text of several lines has one that looks like a row: as many fields, one of them a number."""
        parts = (line.split(self.delimiter) for line in field.splitlines()[1:])
        return any(len(part) == len(self.columns) > 2 and any(map(_NUMBER.fullmatch, part)) for part in parts)
