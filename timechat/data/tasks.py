"""Tasks: how a record becomes a question with TimeIT's answer, and a row that a benchmark of this package reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from timechat.data import answer_templates as templates
from timechat.data.instructions import question_for
from timechat.data.records import Conversation, Event, Events, Highlights, Moment, Record

Turn = Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
        words: what it is called in texts.
        turns: (record, path of its video, seed) -> questions "q" and answers "a".
        row: (record, path of its video, id) -> the row for evaluation; None where no benchmark reads such a row.
        benchmark: that reads the rows; "" if there are none.
        coco: whether a JSON file holds them under the key "annotations", instead of as a list.
        media: the key of the path in an item.
    """

    words: str
    turns: Callable[[Any, str, int], list[Turn]]
    row: Callable[[Any, str, str], dict[str, Any] | None] = lambda record, video, key: None
    benchmark: str = ""
    coco: bool = True
    media: str = "video"


def turns_of(task: str, record: Record, video: str, seed: int) -> list[Turn]:
    """The questions and answers of a record."""
    return TASKS[task].turns(record, video, seed)


# Questions and answers ------------------------------------------------------------------------------------------------


def _moment_turns(record: Moment, video: str, seed: int) -> list[Turn]:
    instant = all(templates.is_instant(*window) for window in record.windows)
    answer = templates.moments_answer(record.windows, whole=record.whole)
    task = "grounding_instant" if instant else "grounding"
    return [_turn(task, seed, video, answer, templates.quoted(record.query))]


def _timed(record: Events) -> list[tuple[float, float, str]]:
    return [
        (event.start, event.start if event.end is None else event.end, templates.sentence(event.text))
        for event in record.events
    ]


def _events_turns(task: str) -> Callable[[Events, str, int], list[Turn]]:
    def turns(record: Events, video: str, seed: int) -> list[Turn]:
        return [_turn(task, seed, video, templates.dense_captions_answer(_timed(record)))]

    return turns


def _chapter_turns(record: Events, video: str, seed: int) -> list[Turn]:
    told = [(event.start, templates.sentence(event.text)) for event in record.events]
    return [_turn("chapters", seed, video, templates.chapters_answer(told))]


def _speech_turns(record: Events, video: str, seed: int) -> list[Turn]:
    return [_turn("transcription", seed, video, templates.transcribed_speech(_timed(record)))]


def _highlight_turns(record: Highlights, video: str, seed: int) -> list[Turn]:
    answer = templates.highlights_answer(record.scores)
    return [_turn("highlights", seed, video, answer, templates.quoted(record.query))]


def _summary_turns(record: Highlights, video: str, seed: int) -> list[Turn]:
    return [_turn("summarization", seed, video, templates.summary_answer(record.scores))]


def _conversation_turns(record: Conversation, video: str, seed: int) -> list[Turn]:
    return [turn if turn["q"] else _turn("captioning", seed, video, turn["a"]) for turn in record.turns]


def _turn(task: str, seed: int, video: str, answer: str, query: str = "") -> Turn:
    return {"q": question_for(task, seed, video, answer, query=query), "a": answer}


# Rows for evaluation --------------------------------------------------------------------------------------------------


def _moment_row(record: Moment, video: str, key: str) -> dict[str, Any] | None:
    if len(record.windows) > 1:
        return None  # benchmarks of grounding have one true interval for each query
    row = {"image_id": video, "caption": record.query, "timestamp": list(record.windows[0]), "id": key}
    return row | _length(record)


def _events_row(record: Events, video: str, key: str) -> dict[str, Any]:
    segments = [list(pair) for pair in _segments(record)]
    captions = [event.text for event in record.events]
    return {"image_id": video, "segments": segments, "captions": captions} | _length(record)


def _segments(record: Events) -> list[tuple[float, float]]:
    """When each event is; one without an end lasts until the next one starts, the last one until the video ends."""
    ends = [second.start for _, second in pairwise(record.events)] + [record.duration]
    return [(event.start, _end(event, later)) for event, later in zip(record.events, ends, strict=True)]


def _end(event: Event, later: float | None) -> float:
    if event.end is not None:
        return event.end
    return event.start if later is None else max(event.start, later)


def _highlight_row(record: Highlights, video: str, key: str) -> dict[str, Any] | None:
    return {**record.row, "vid": video} if record.row else None


def _conversation_row(record: Conversation, video: str, key: str) -> dict[str, Any] | None:
    return {**record.row, "video": video} if record.row else None


def _length(record: Record) -> dict[str, Any]:
    return {} if record.duration is None else {"duration": record.duration}


TASKS = {
    "grounding": Task("temporal grounding", _moment_turns, _moment_row, "charades_sta"),
    "dense_captioning": Task("dense video captioning", _events_turns("dense_captioning"), _events_row, "youcook2"),
    "step_localization": Task("step localization", _events_turns("step_localization"), _events_row, "youcook2"),
    "chapters": Task("chapters, by their starts", _chapter_turns, _events_row, "youcook2"),
    "transcription": Task("transcribed speech", _speech_turns, _events_row, "youcook2"),
    "highlights": Task("highlight detection", _highlight_turns, _highlight_row, "qvhighlights", coco=False),
    "summarization": Task("video summarization", _summary_turns),
    "conversation": Task("conversations", _conversation_turns),
    "timed_conversation": Task("conversations", _conversation_turns, _conversation_row, "etbench", coco=False),
    "video_conversation": Task("conversations", _conversation_turns),
    "image_conversation": Task("conversations about pictures", _conversation_turns, media="image"),
}
