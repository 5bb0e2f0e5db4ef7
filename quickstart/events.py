"""Annotated events: dense captions in COCO format, in seconds, both ends of a segment included.

{"annotations": [{"image_id": "train_0000.mp4", "segments": [[start, end], ...], "captions": [...]}, ...]}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.datasets.annotations import inside, raise_listed
from timechat.datasets.entries import read_json
from timechat.errors import AnnotationError, ConfigError


@dataclass(frozen=True)
class CaptionedEvent:
    """A caption with its start and end in seconds, both included."""

    start: float
    end: float
    caption: str


@dataclass(frozen=True)
class EventVideo:
    """One video, a path below `videos_dir`, and its events in chronological order."""

    path: str
    events: tuple[CaptionedEvent, ...]

    def captions_at(self, second: float) -> list[str]:
        """The captions of the events at that time in seconds."""
        return [event.caption for event in self.events if event.start <= second <= event.end]

    def seen_at(self, seconds: Sequence[float]) -> list[CaptionedEvent]:
        """The events that frames at these seconds show, each from the first to the last frame that shows it."""
        times = [[second for second in seconds if event.start <= second <= event.end] for event in self.events]
        return [CaptionedEvent(t[0], t[-1], event.caption) for event, t in zip(self.events, times, strict=True) if t]


def read_events(path: str | Path, videos_dir: str | Path) -> list[EventVideo]:
    """Read and check a dense captioning file in COCO format.

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    content = read_json(path)
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(f'{path}: expected {{"annotations": [...]}}, dense captions in COCO format')
    items, problems = [], []
    for number, row in enumerate(rows):
        found = list(_problems(row, videos_dir))
        problems += [f"annotations[{number}]: {problem}" for problem in found]
        if not found:
            pairs = zip(row["segments"], row["captions"], strict=True)
            events = sorted((min(segment), max(segment), caption) for segment, caption in pairs)
            items.append(EventVideo(row["image_id"], tuple(CaptionedEvent(*event) for event in events)))
    raise_listed(path, problems)
    if not items:
        raise AnnotationError(f"{path}: annotations is empty; training needs at least one item")
    return items


def _problems(row: Any, videos_dir: str | Path) -> Iterator[str]:
    if not isinstance(row, Mapping):
        yield f"expected an object with image_id, segments and captions, found {str(row)[:60]!r}"
        return
    path = row.get("image_id")
    if not isinstance(path, str) or not path:
        yield f"image_id is missing: it must be a path relative to {videos_dir}"
    elif not inside(path, videos_dir):
        yield f"image_id {path!r} points outside of videos_dir {videos_dir}"
    segments, captions = row.get("segments"), row.get("captions")
    if not isinstance(segments, list) or not all(map(_is_interval, segments)):
        yield f"segments is {str(segments)[:60]}: it must be a list of [start, end] in seconds, 0 or more"
    if not isinstance(captions, list) or not all(isinstance(c, str) and words_of(c) for c in captions):
        yield f"captions is {str(captions)[:60]}: it must be a list of texts"
    elif isinstance(segments, list) and len(captions) != len(segments):
        yield f"{len(captions)} captions, but {len(segments)} segments; give one for each"


def _is_interval(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and not any(isinstance(v, bool) for v in value)
    return numbers and all(isinstance(v, int | float) and math.isfinite(v) and v >= 0 for v in value)


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case."""
    return re.findall(r"\w+", caption.lower())


def vocabulary_of(items: Sequence[EventVideo], source: str) -> list[str]:
    """The words that occur in some captions but not in all, sorted.

    Words of every caption only say *that* something happens; learning them as well would take capacity from learning
    what happens.

    Args:
        items: from `read_events`.
        source: their name in messages.

    Raises:
        ConfigError: there are no such words.
    """
    captions = [set(words_of(event.caption)) for item in items for event in item.events]
    words = sorted(set().union(*captions).difference(set.intersection(*captions))) if captions else []
    if not words:
        raise ConfigError(f"{source}: all captions have the same words, so there is nothing to distinguish")
    return words
