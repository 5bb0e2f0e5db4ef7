"""Charades-STA: one query a line, `AO8RW 0.0 6.9##a person is putting a book on a shelf.`, times in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from timechat.data.reading import BadPart, Found, number_of, parse, text_lines, window_of
from timechat.data.records import Moment
from timechat.data.sources.contract import Asked, Source

_LINE = re.compile(r"(\S+) (\S+) (\S+)\s*##(.*)")


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each line."""
    return parse(text_lines(path), _moment)


def _moment(where: str, line: str) -> Moment:
    match = _LINE.fullmatch(line)
    if not match:
        raise BadPart(f"expected 'VIDEO START END##sentence', found {line[:60]!r}")
    video, start, end, query = match.groups()
    try:
        times = [number_of(float(start), "start"), number_of(float(end), "end")]
    except ValueError:
        raise BadPart(f"{start!r} and {end!r} must be times in seconds") from None
    if len(query.strip(" .")) < 2:
        raise BadPart("no sentence behind ##")
    return Moment(where, video, query.strip(), (window_of(times, "the moment"),))


SOURCE = Source(
    "charades_sta",
    "charades_sta_train.txt or charades_sta_test.txt",
    read,
    {"grounding": "Charades/videos/{id}.mp4"},
    as_it_is="charades_sta",
)
