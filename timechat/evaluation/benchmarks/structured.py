"""Predictions that are no text: files of other models hold intervals, clip scores, events or option numbers as such.

A benchmark names the forms that it scores in `Benchmark.structured`, and turns them into what `parse` would have
returned in `Benchmark.take`. So a number of a file reaches the metric as it is, without a sentence in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Windows:
    """Parts of the video, one or more.

    Attributes:
        intervals: (start, end) in seconds, start before end, in the file's order: the first one is the best.
    """

    words: ClassVar[str] = "intervals"
    intervals: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Saliency:
    """How much of a highlight each clip is.

    Attributes:
        scores: one for each clip of the video, from its beginning.
    """

    words: ClassVar[str] = "clip scores"
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Events:
    """What happens when, one event or more.

    Attributes:
        events: (start, end, caption), times in seconds, start before end.
    """

    words: ClassVar[str] = "events with captions"
    events: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Choice:
    """An option by its number.

    Attributes:
        index: from 0; a number that no option has means none of them.
    """

    words: ClassVar[str] = "option numbers"
    index: int


Structured = Windows | Saliency | Events | Choice
Answer = str | Structured  # what is scored: the text that a model said, or what its file holds in place of one
