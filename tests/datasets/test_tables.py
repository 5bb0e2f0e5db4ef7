"""CSV files: rows with their lines, and quotes that are not closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from timechat.datasets.entries import iter_rows
from timechat.datasets.tables import Table
from timechat.errors import AnnotationError, FileError

HEAD = "video,start,end,sentence\n"


def rows_of(path: Path, text: str) -> list[tuple[int, str | None, str]]:
    """Line, sentence and problem of each row."""
    path.write_text(HEAD + text)
    with Table(path) as table:
        return [(row.line, row.fields.get("sentence"), row.problem) for row in table.rows()]


def test_rows_have_the_lines_at_which_they_begin(tmp_path: Path) -> None:
    text = 'a,1,2,x\n\nb,1,2,"over\ntwo lines, with commas, but no times"\nc,1\n'
    found = rows_of(tmp_path / "a.csv", text)
    assert found == [(2, "x", ""), (4, "over\ntwo lines, with commas, but no times", ""), (6, None, "")]


def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"a\.csv, line 3: a quote .* is opened and never closed"):
        rows_of(tmp_path / "a.csv", 'a,1,2,x\nk,1,2,"unclosed\nb,2,3,x\n')


@pytest.mark.parametrize("last", ['z,3,4,bye"', 'z,3,4,"', 'z,3,4,"bye"'])
def test_a_quote_that_closes_rows_later_swallows_none_of_them_silently(tmp_path: Path, last: str) -> None:
    found = rows_of(tmp_path / "a.csv", f'k,1,2,"unclosed\nb,2,3,x\n{last}\nc,1,2,good\n')
    assert [(line, bool(problem)) for line, _, problem in found] == [(2, True), (5, False)]
    assert "takes in the lines up to 4" in found[0][2]


def test_quotes_inside_of_a_text_are_broken_in_their_line_alone(tmp_path: Path) -> None:
    found = rows_of(tmp_path / "a.csv", 'a,1,2,"he" says\nb,1,2,x,y\nc,1,2,"good ""one"""\n')
    assert [(line, bool(problem)) for line, _, problem in found] == [(2, True), (3, True), (4, False)]
    assert "write each of its own twice" in found[0][2]
    assert "more fields than columns" in found[1][2]
    assert found[2][1] == 'good "one"'


def test_the_captions_of_webvid_are_read_as_strictly(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('videoid,page_dir,name\n1,a,x\n2,a,"a cat\n3,a,y\n')
    with pytest.raises(AnnotationError, match=r"line 3: a quote"):
        list(iter_rows(path))
    path.write_text('videoid,page_dir,name\n1,a,x\n2,a,"a" cat\n')
    with pytest.raises(AnnotationError, match=r"line 3: is not CSV"):
        list(iter_rows(path))


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="it is a folder: give a file"):
        Table(tmp_path)
