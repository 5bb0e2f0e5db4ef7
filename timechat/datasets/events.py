"""Lessons about the sampled frames, made from annotated events, for a model that is trained from nothing.

A model learns to say *when* only after it can see *what* and read a frame's time. All lessons come from dense captions
in coco form (`{"annotations": [{"image_id", "segments": [[start, end], ...], "captions": [...]}]}`, seconds, both ends
included): the words that describe a frame, for what comes before the decoder; for the whole model a list of the frames
with their times, captions before their times, and the usual questions with answers that name the times of the frames at
hand. A lesson may keep few of a video's frames, so that a model learns with few first, and rarely sees the same twice.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timechat.datasets.annotations import inside, raise_listed, read_json
from timechat.datasets.instruction import InstructionDataset
from timechat.datasets.video import Video
from timechat.errors import AnnotationError, ConfigError
from timechat.text.answers import dense_captions_answer, grounding_answer

LISTING_QUESTION = "What does each frame show?"
TIMES_QUESTION = "What does the video show, and when?"
GROUNDING_QUESTION = "When does '{query}' happen in the video? Give its start time and end time in seconds."
CAPTIONING_QUESTION = "Describe each event of the video with its start time and end time in seconds."
NOTHING = "nothing."


@dataclass(frozen=True)
class Event:
    """A caption and its time, start and end in seconds, both included."""

    start: float
    end: float
    caption: str


@dataclass(frozen=True)
class EventItem:
    """One video, a path below `videos_dir`, and its events in order of time."""

    path: str
    events: tuple[Event, ...]

    def captions_at(self, second: float) -> list[str]:
        """The captions of the events that are going on."""
        return [event.caption for event in self.events if event.start <= second <= event.end]

    def seen_at(self, seconds: Sequence[float]) -> list[Event]:
        """The events that frames at these seconds show, each from the first to the last frame that shows it."""
        times = [[second for second in seconds if event.start <= second <= event.end] for event in self.events]
        return [Event(t[0], t[-1], event.caption) for event, t in zip(self.events, times, strict=True) if t]


@dataclass
class FrameWordsSample:
    """What frame encoder and Q-Formers learn from without a decoder.

    Attributes:
        frames: uint8 [T, 3, H, W].
        seconds: T times in seconds.
        words: float [T, W], 1 where a word describes a frame.
        key: the file and where its annotation stands.
    """

    frames: Tensor
    seconds: list[float]
    words: Tensor
    key: str


class EventDataset(InstructionDataset):
    """Videos with annotated events; what is made of them is for subclasses to say.

    Args:
        frame_counts: how many of the sampled frames a sample keeps, one number drawn for each; empty keeps all.
        one_frame_per_event: keep one random frame of each event instead.
    """

    items: Sequence[EventItem]

    def __init__(
        self,
        *args: Any,
        frame_counts: Sequence[int] = (),
        one_frame_per_event: bool = False,
        **settings: Any,
    ):
        super().__init__(*args, **settings)
        self.frame_counts = tuple(frame_counts)
        self.one_frame_per_event = one_frame_per_event

    def read_video(self, index: int, generator: torch.Generator) -> Video:
        """The sampled frames that the lesson keeps."""
        video = super().read_video(index, generator)
        kept = self._kept(index, video.seconds, generator)
        return replace(video, frames=video.frames[kept], seconds=[video.seconds[i] for i in kept])

    def _kept(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[int]:
        """Which of the frames at these seconds; all of them where no event is on any."""
        everything = list(range(len(seconds)))
        if self.one_frame_per_event:
            showing = [
                [i for i in everything if event.start <= seconds[i] <= event.end] for event in self.items[index].events
            ]
            return sorted({frames[_draw(len(frames), generator)] for frames in showing if frames}) or everything
        if self.frame_counts:
            count = self.frame_counts[_draw(len(self.frame_counts), generator)]
            return one_of_each(len(seconds), count, generator)
        return everything


class SampledListingDataset(EventDataset):
    """Lists of the frames: the time of each and what it shows."""

    def conversation(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn about the frames at these seconds."""
        return [self.listing(index, seconds)]

    def listing(self, index: int, seconds: Sequence[float]) -> dict[str, str]:
        """The list as a turn."""
        shown = [(time, " ".join(self.items[index].captions_at(time)) or NOTHING) for time in seconds]
        return {"q": LISTING_QUESTION, "a": " ".join(f"{time:.1f}: {captions}" for time, captions in shown)}


class SampledTimesDataset(SampledListingDataset):
    """Each event that the frames show, its caption before its times, in random order; a list where they show none.

    Meant to make a model listen: with the caption just said, the times can only be found by looking for the frames that
    it describes. From grounding alone small models learn for long to answer with the times of any event.
    """

    def conversation(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn about the frames at these seconds."""
        events = self.items[index].seen_at(seconds)
        if not events:
            return [self.listing(index, seconds)]
        shuffled = [events[i] for i in torch.randperm(len(events), generator=generator).tolist()]
        answer = " ".join(f"{event.caption} {event.start:.1f} - {event.end:.1f}." for event in shuffled)
        return [{"q": TIMES_QUESTION, "a": answer}]


class SampledGroundingDataset(SampledListingDataset):
    """Temporal grounding of each event that the frames show, in random order; a list where they show none."""

    def conversation(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[dict[str, str]]:
        """A turn for each event: from the first to the last of the frames at these seconds that show it."""
        turns = [
            {"q": GROUNDING_QUESTION.format(query=event.caption), "a": grounding_answer(event.start, event.end)}
            for event in self.items[index].seen_at(seconds)
        ]
        order = torch.randperm(len(turns), generator=generator).tolist()
        return [turns[i] for i in order] or [self.listing(index, seconds)]


class SampledCaptionsDataset(SampledListingDataset):
    """Dense captions of the events that the frames show; a list where they show none."""

    def conversation(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn about the frames at these seconds."""
        events = self.items[index].seen_at(seconds)
        if not events:
            return [self.listing(index, seconds)]
        answer = dense_captions_answer((event.start, event.end, event.caption) for event in events)
        return [{"q": CAPTIONING_QUESTION, "a": answer}]


class FrameWordsDataset(EventDataset):
    """Frames with the words of the captions that describe them.

    Attributes:
        vocabulary: the words that some captions have and others do not, sorted. Words of every caption tell only *that*
            something happens; learned as well, they take a share of the features that is missing for telling what.
    """

    makes = FrameWordsSample

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        captions = [set(words_of(event.caption)) for item in self.items for event in item.events]
        self.vocabulary = sorted(set().union(*captions).difference(set.intersection(*captions)))
        if not self.vocabulary:
            raise ConfigError(f"datasets.{self.name}: all captions have the same words, there is nothing to tell apart")
        self._columns = {word: i for i, word in enumerate(self.vocabulary)}

    def sample(self, index: int, generator: torch.Generator) -> FrameWordsSample:
        """Read one sample. Raises SampleError: the file cannot be decoded."""
        video = self.read_video(index, generator)
        words = torch.zeros(len(video.frames), len(self.vocabulary))
        for row, second in enumerate(video.seconds):
            for caption in self.items[index].captions_at(second):
                words[row, [self._columns[word] for word in words_of(caption) if word in self._columns]] = 1
        return FrameWordsSample(self.processor(video.frames, generator), video.seconds, words, self.key(index))


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case."""
    return re.findall(r"\w+", caption.lower())


def one_of_each(total: int, count: int, generator: torch.Generator) -> list[int]:
    """One random index from each of `count` equal intervals of [0, total); all of them if there are no more."""
    count = min(count, total)
    borders = [total * i // count for i in range(count + 1)]
    return [left + _draw(right - left, generator) for left, right in itertools.pairwise(borders)]


def _draw(options: int, generator: torch.Generator) -> int:
    return int(torch.randint(options, (1,), generator=generator))


def read_events(path: str | Path, videos_dir: str | Path) -> list[EventItem]:
    """Read and check a dense captioning file in coco form.

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    content = read_json(path)
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise AnnotationError(f'{path}: expected {{"annotations": [...]}}, dense captions in coco form')
    items, problems = [], []
    for number, row in enumerate(rows):
        found = list(_problems(row, videos_dir))
        problems += [f"annotations[{number}]: {problem}" for problem in found]
        if not found:
            pairs = zip(row["segments"], row["captions"], strict=True)
            events = sorted((min(segment), max(segment), caption) for segment, caption in pairs)
            items.append(EventItem(row["image_id"], tuple(Event(*event) for event in events)))
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
        yield f"{len(captions)} captions, but {len(segments)} segments; give as many"


def _is_interval(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and not any(isinstance(v, bool) for v in value)
    return numbers and all(isinstance(v, int | float) and math.isfinite(v) and v >= 0 for v in value)
