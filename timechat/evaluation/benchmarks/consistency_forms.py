"""The annotations of Charades-CON and ActivityNet-CON: a row for each query, and rows for what may follow it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    interval_problems,
    is_number,
    read_annotation_json,
    text_problems,
    video_file,
    video_problems,
)
from timechat.evaluation.metrics.consistency import COMPOSE, GROUND, REPHRASED, SHIFTED, VERIFY

LISTS = ("sentences", "timestamps", "consistency_annotations", "shifted_timestamps")


def consistency_rows(path: str | Path) -> list[Row]:
    """The rows of every query: that of the query itself, then those that may follow it.

    Fields: id; key, of the query; asks; image_id, caption, timestamp, duration; found, None until the model has found
    the moment; and of verification true, whether the sentence is true of the video (the question's answer is yes).

    Raises:
        AnnotationError: naming the file, the query, the field and the fix.
    """
    content = read_annotation_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f'{path}: expected {{"VID": {{"sentences", ...}}}}, found {str(content)[:60]!r}')
    placed = [pair for video, entry in content.items() for pair in _queries(video, entry)]
    return [row for query in check_rows(path, placed, _problems, _key) for row in _rows(query)]


def _key(row: Row) -> str:
    return row["key"]


def _queries(video: str, entry: Any) -> Iterator[tuple[str, Any]]:
    """Every query of a video with what belongs to it; a video that is not one stays as it is, to be refused."""
    lists = [entry.get(name) for name in LISTS] if isinstance(entry, dict) else [None]
    if not all(isinstance(values, list) for values in lists) or len({len(values or ()) for values in lists}) > 1:
        yield repr(video), f"no lists of one length: {', '.join(LISTS)}"
        return
    for number, (sentence, time, probes, shifted) in enumerate(zip(*(values or () for values in lists), strict=True)):
        yield (
            f"{video!r}, sentence {number}",
            {
                "key": f"{video}#{number}",
                "image_id": video_file(video),
                "caption": sentence,
                "timestamp": time,
                "shifted": shifted,
                "probes": probes,
                "duration": entry.get("duration"),
            },
        )


def _sentences(probes: Any) -> dict[str, Any]:
    """The four lists of a query's annotations, None where one is missing."""
    parts = probes if isinstance(probes, dict) else {}
    found = parts.get("C")
    composed = found if isinstance(found, dict) else {}
    return {"A": parts.get("A"), "M": parts.get("M"), "C.Y": composed.get("Y"), "C.N": composed.get("N")}


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "image_id")
    yield from text_problems(row, "caption")
    yield from interval_problems(row["timestamp"], "timestamp")
    yield from interval_problems(row["shifted"], "shifted_timestamp")
    if not is_number(row["duration"]) or row["duration"] <= 0:
        yield f"duration is {row['duration']!r}: it must be a number of seconds above 0"
    for name, texts in _sentences(row["probes"]).items():
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            yield f"consistency_annotations.{name} is {str(texts)[:60]!r}: it must be a list of sentences"


def _rows(query: Row) -> Iterator[Row]:
    """The row of a query, and those that may follow it."""
    key = query["key"]
    common = {name: query[name] for name in ("key", "image_id", "timestamp", "duration")} | {"found": None}
    texts = _sentences(query["probes"])

    def row(asks: str, end: str, caption: str, **more: Any) -> Row:
        return {**common, "asks": asks, "id": f"{key}/{asks}{end}", "caption": caption.strip(), **more}

    yield row(GROUND, "", query["caption"])
    yield from (row(REPHRASED, f"/{number}", text) for number, text in enumerate(texts["A"]))
    yield row(SHIFTED, "", query["caption"], timestamp=query["shifted"])
    yield row(VERIFY, "/query", query["caption"], true=True)
    for name, end, true in (("A", "aligned", True), ("M", "misaligned", False)):
        yield from (row(VERIFY, f"/{end}/{n}", text, true=true) for n, text in enumerate(texts[name]))
    for name, end, true in (("C.Y", "yes", True), ("C.N", "no", False)):
        yield from (row(COMPOSE, f"/{end}/{n}", text, true=true) for n, text in enumerate(texts[name]))
