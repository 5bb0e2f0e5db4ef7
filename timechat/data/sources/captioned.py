"""Videos with timed sentences, whatever their file: one record for a video, or one for each of its sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from timechat.data.reading import BadPart, Found, OutByRule, Placed, text_of, window_of
from timechat.data.records import Bad, Event, Events, LeftOut, Moment
from timechat.data.sources.contract import Asked


@dataclass(frozen=True)
class Captioned:
    """A video's sentences, not yet read.

    Attributes:
        duration: of the video, in seconds, where it is known.
        events: each one read when it is called; raises BadPart.
        parts: as for records.
    """

    duration: float | None
    events: Sequence[Callable[[], Event]]
    parts: Mapping[str, str] = field(default_factory=dict)


def event_of(time: Any, time_key: str, row: Mapping[str, Any], text_key: str) -> Event:
    """An event whose time is [start, end], and whose text is a field of a row. Raises BadPart."""
    start, end = window_of(time, time_key)
    return Event(start, end, text_of(row, text_key))


def read_captioned(videos: Iterable[Placed], read: Callable[[Any], Captioned], asked: Asked) -> Iterator[Found]:
    """Records of videos: for grounding one for each sentence, for all other tasks one for each video.

    A broken sentence is left out alone where each has its own record; else its video is, whose answer would lack it.

    Args:
        videos: id -> what the file says about it.
        read: raises BadPart, OutByRule.
        asked: the task decides.
    """
    for video, part in videos:
        where = f"video {video!r}"
        try:
            found = read(part)
            if asked.task != "grounding":
                events = tuple(_read(number, event) for number, event in enumerate(found.events))
                yield Events(where, video, events, parts=found.parts, duration=found.duration)
                continue
        except BadPart as bad:
            yield Bad(where, str(bad))
            continue
        except OutByRule as rule:
            yield LeftOut(where, str(rule))
            continue
        yield from _moments(where, video, found)


def _read(number: int, event: Callable[[], Event]) -> Event:
    try:
        return event()
    except BadPart as bad:
        raise BadPart(f"sentence {number}: {bad}") from None


def _moments(where: str, video: str, found: Captioned) -> Iterator[Found]:
    for number, make in enumerate(found.events):
        place = f"{where}, sentence {number}"
        try:
            event = make()
        except BadPart as bad:
            yield Bad(place, str(bad))
            continue
        window = (event.start, event.start if event.end is None else event.end)
        yield Moment(place, video, event.text, (window,), parts=found.parts, duration=found.duration)
