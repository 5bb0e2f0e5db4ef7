"""What a source's annotations say, whatever their format: one kind of record for each kind of answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Window = tuple[float, float]


@dataclass(frozen=True)
class Record:
    """What all kinds of records have.

    Attributes:
        where: its place in the file, for messages: "line 3".
        video: the video's id, as the file has it.
        parts: what the path of the video may also depend on, such as the folder that it is in.
        duration: of the video, in seconds; None if the file does not say it.
    """

    where: str
    video: str
    parts: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    duration: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Moment(Record):
    """A query, and when it happens: (start, end) in seconds, once or several times.

    Attributes:
        whole: whether times are whole seconds by nature, and are printed so.
    """

    query: str
    windows: tuple[Window, ...]
    whole: bool = False


@dataclass(frozen=True)
class Event:
    """What happens from `start` to `end`, in seconds; `end` is None where only the start is known."""

    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class Events(Record):
    """What happens in a video, or is said in it, in order."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Highlights(Record):
    """What matters most in a video: (second, score) pairs; `query` is empty where they summarize all of it.

    Attributes:
        row: the same as QVHighlights' row, for evaluation; empty where the benchmark reads other files.
    """

    query: str
    scores: tuple[tuple[float, float], ...]
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Conversation(Record):
    """Questions and answers in the source's own words.

    Attributes:
        turns: {"q", "a"}, in order. An empty question is filled by one of this project's.
        row: E.T. Bench's sample that asks the same; empty where no benchmark does.
    """

    turns: tuple[Mapping[str, str], ...]
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bad:
    """A part of the file that is broken: it is left out, counted and reported."""

    where: str
    problem: str


@dataclass(frozen=True)
class LeftOut:
    """A part of the file that is left out by rule, such as the other split: it is counted under that rule."""

    where: str
    rule: str
