"""Valley, LLaVA and E.T. Instruct: conversations in their own words, kept as they are.

- Valley: `{"source": "VATEX" or "jukinmedia", "v_id", "video", "conversations"}`. Of VATEX the file in `video` is the
  uncropped one; the answers are about the crop v_id, `ID_000001_000011.mp4` (`timechat data clip`), which is taken.
- LLaVA: `{"id", "image" or "video", "conversations"}`; items with neither are text alone.
- E.T. Instruct (et_instruct_164k_txt.json): `{"task", "source", "video", "duration", "tgt", "conversations"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.reading import (
    BadPart,
    Found,
    OutByRule,
    an_object,
    duration_of,
    json_rows,
    list_of,
    parse,
    stem_of,
    text_of,
)
from timechat.data.records import Conversation, Record
from timechat.data.sources.contract import Asked, Source
from timechat.datasets.annotations import check_entry
from timechat.evaluation.benchmarks.etbench.rows import INTERVALS, MOMENT, TASKS, VID_MARK

VATEX, JUKIN = "VATEX", "jukinmedia"


def _reader(make: Callable[[Asked, str, Mapping[str, Any]], Record]) -> Callable[[Path, Asked], Iterator[Found]]:
    def read(path: Path, asked: Asked) -> Iterator[Found]:
        return parse(json_rows(path), lambda where, part: make(asked, where, an_object(part)))

    return read


def _turns(row: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """The turns of a checked conversation. Raises BadPart."""
    item, problems = check_entry({"video": "any.mp4", "conversations": list_of(row, "conversations")}, 0, ".")
    if item is None:
        raise BadPart(problems[0])
    return item.qa


def _valley(asked: Asked, where: str, row: Mapping[str, Any]) -> Record:
    source = row.get("source")
    if source == VATEX:
        parts = {"file": f"vatex/videos/{stem_of(text_of(row, 'v_id'))}.mp4"}
    elif source == JUKIN:
        parts = {"file": f"jukin/videos/{stem_of(text_of(row, 'video'))}.mp4"}
    else:
        raise BadPart(f"source is {source!r}: it must be {VATEX} or {JUKIN}, as in Valley's own file")
    return Conversation(where, stem_of(text_of(row, "v_id" if source == VATEX else "video")), _turns(row), parts=parts)


def _llava(media: str, other: str, asked: Asked, where: str, row: Mapping[str, Any]) -> Record:
    if row.get(media):
        return Conversation(where, text_of(row, media), _turns(row))
    if row.get(other):
        raise OutByRule(f"has a key {other!r}: convert these with --task {other}_conversation")
    if not asked.text_only:
        raise OutByRule("text alone (--text-only keep keeps it)")
    return Conversation(where, "", _turns(row))


def _read_llava(path: Path, asked: Asked) -> Iterator[Found]:
    media, other = ("video", "image") if asked.task.startswith("video") else ("image", "video")
    return _reader(partial(_llava, media, other))(path, asked)


def _et_instruct(asked: Asked, where: str, row: Mapping[str, Any]) -> Record:
    turns = _turns(row)
    if any(VID_MARK in turn["a"] for turn in turns):
        raise BadPart(f"times are tokens ({VID_MARK}); take et_instruct_164k_txt.json, whose times are seconds")
    video = text_of(row, "video")
    return Conversation(where, video, turns, _sample(where, row, turns), duration=duration_of(row))


def _sample(where: str, row: Mapping[str, Any], turns: tuple[Mapping[str, str], ...]) -> dict[str, Any]:
    """E.T. Bench's sample of the tasks whose truth is intervals alone; of others the captions are not told apart."""
    task, times = TASKS.get(str(row.get("task"))), row.get("tgt")
    if task is None or task.answer not in (INTERVALS, MOMENT) or not isinstance(times, list) or len(turns) > 1:
        return {}
    flat = all(not isinstance(value, list) for value in times)
    pairs = [times[i : i + 2] for i in range(0, len(times), 2)] if flat else times
    named = {key: row[key] for key in ("task", "source", "duration") if key in row}
    return {"version": 1.0, "idx": where, **named, "tgt": pairs, "q": turns[0]["q"]}


VALLEY = Source(
    "valley",
    "Valley_instruct_73k.json or Valley_instruct_65k.json",
    _reader(_valley),
    {"conversation": "{file}"},
)
LLAVA = Source(
    "llava",
    "llava_instruct_150k.json, llava_v1_5_mix665k.json or another JSON of LLaVA's form",
    _read_llava,
    {"image_conversation": "{path}", "video_conversation": "{path}"},
)
ET_INSTRUCT = Source(
    "et_instruct", "et_instruct_164k_txt.json", _reader(_et_instruct), {"timed_conversation": "{path}"}
)
