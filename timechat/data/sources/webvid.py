"""WebVid: CSV with the columns videoid, contentUrl, duration, page_dir, name; `name` is the caption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timechat.data.reading import Found, an_object, csv_rows, parse, text_of
from timechat.data.records import Conversation
from timechat.data.sources.contract import Asked, Source


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each row."""
    return parse(csv_rows(path, ("videoid", "page_dir", "name")), _caption)


def _caption(where: str, part: Any) -> Conversation:
    row = an_object(part)
    turns = ({"q": "", "a": text_of(row, "name")},)
    parts = {"folder": (row["page_dir"] or "").strip("/")}
    return Conversation(where, text_of(row, "videoid"), turns, parts=parts)


SOURCE = Source(
    "webvid", "results_2M_train.csv or another CSV of WebVid", read, {"conversation": "WebVid/videos/{folder}/{id}.mp4"}
)
