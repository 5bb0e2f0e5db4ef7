"""Lessons about the sampled frames, made from annotated events, for a model that is trained from scratch.

A model learns to say *when* only after it can see *what* and read a frame's time. All lessons come from dense captions:
the words that describe a frame, for the modules before the decoder; for the whole model, captions before their times,
and the usual questions with answers that name times of the sampled frames. A lesson may keep only some of a video's
frames, so that a model learns with few frames first and rarely sees the same ones twice.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quickstart.events import CaptionedEvent, EventVideo, vocabulary_of, words_of
from timechat.data.answer_templates import dense_captions_answer, grounding_answer
from timechat.datasets.base import VideoDataset
from timechat.datasets.instruction import InstructionDataset, InstructionSample
from timechat.datasets.video import Video

LISTING_QUESTION = "What does each frame show?"
TIMES_QUESTION = "What does the video show, and when?"
GROUNDING_QUESTION = "When does '{query}' happen in the video? Give its start time and end time in seconds."
CAPTIONING_QUESTION = "Describe each event of the video with its start time and end time in seconds."
NOTHING = "nothing."


@dataclass
class FrameWordsSample:
    """A training sample of frame encoder and Q-Formers without a decoder.

    Attributes:
        frames: uint8 [T, 3, H, W].
        seconds: T times in seconds.
        words: float [T, W], 1 where a word describes a frame.
        key: the file and the position of its annotation.
    """

    frames: Tensor
    seconds: list[float]
    words: Tensor
    key: str


class EventDataset(VideoDataset):
    """Videos with annotated events; subclasses make samples of them.

    Args:
        frame_counts: how many of the sampled frames a sample keeps, one of these numbers at random; empty keeps all.
        frames_per_event: keep so many random frames of each event instead, fewer where it has fewer.
        times_below: the model is told other times than the frames have: whole seconds below this number, all different,
            drawn at random, in order. None, or where more frames are kept: the frames' own.
        others: as for VideoDataset.
    """

    items: Sequence[EventVideo]

    def __init__(
        self,
        *others: Any,
        frame_counts: Sequence[int] = (),
        frames_per_event: int | None = None,
        times_below: int | None = None,
        **settings: Any,
    ):
        super().__init__(*others, **settings)
        self.frame_counts = tuple(frame_counts)
        self.frames_per_event = frames_per_event
        self.times_below = times_below

    def read_video(self, index: int, generator: torch.Generator) -> Video:
        """The sampled frames that the lesson keeps."""
        video = super().read_video(index, generator)
        kept = self._kept(index, video.seconds, generator)
        return replace(video, frames=video.frames[kept], seconds=[video.seconds[i] for i in kept])

    def _kept(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[int]:
        """Indices of the kept ones among frames at these seconds; all of them if no frame shows an event."""
        everything = list(range(len(seconds)))
        if self.frames_per_event:
            showing = [
                [i for i in everything if event.start <= seconds[i] <= event.end] for event in self.items[index].events
            ]
            drawn = [torch.randperm(len(frames), generator=generator).tolist() for frames in showing]
            kept = {
                frames[i] for frames, order in zip(showing, drawn, strict=True) for i in order[: self.frames_per_event]
            }
            return sorted(kept) or everything
        if self.frame_counts:
            count = self.frame_counts[_draw(len(self.frame_counts), generator)]
            return one_of_each(len(seconds), count, generator)
        return everything

    def told(self, seconds: Sequence[float], generator: torch.Generator) -> list[float]:
        """The times that the model is told, for frames at these seconds."""
        if self.times_below is None or len(seconds) > self.times_below:
            return list(seconds)
        drawn = torch.randperm(self.times_below, generator=generator)[: len(seconds)]
        return sorted(float(second) for second in drawn)


class EventConversations(EventDataset, InstructionDataset):
    """Turns about the events that the sampled frames show; a list of the frames if they show none."""

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """Read one sample. Raises as InstructionDataset."""
        video = self.read_video(index, generator)
        frames = self.processor(video.frames, generator)
        told = self.told(video.seconds, generator)
        return self.encode(index, frames, told, self.conversation(index, video.seconds, told, generator))

    def conversation(
        self, index: int, seconds: Sequence[float], told: Sequence[float], generator: torch.Generator
    ) -> list[dict[str, str]]:
        """The turns about the frames at these seconds; the answers name the times that the model is told."""
        events = self.items[index].seen_at(seconds)
        if not events:
            return [self.listing(index, seconds, told)]
        named = dict(zip(seconds, told, strict=True))
        return self.turns(
            [replace(event, start=named[event.start], end=named[event.end]) for event in events], generator
        )

    @abstractmethod
    def turns(self, events: Sequence[CaptionedEvent], generator: torch.Generator) -> list[dict[str, str]]:
        """The turns about events, each with the times at which the frames show it, in chronological order."""

    def listing(self, index: int, seconds: Sequence[float], told: Sequence[float]) -> dict[str, str]:
        """A turn that says what each frame shows."""
        shown = [" ".join(self.items[index].captions_at(second)) or NOTHING for second in seconds]
        lines = [f"{time:.1f}: {captions}" for time, captions in zip(told, shown, strict=True)]
        return {"q": LISTING_QUESTION, "a": " ".join(lines)}


class SampledTimesDataset(EventConversations):
    """Each event that the frames show, its caption before its times, in random order.

    It makes a model attend to the caption: right after it, the times can only be found by looking for the frames that
    it describes. From grounding alone, small models keep answering with the times of any event for a long time.
    """

    def turns(self, events: Sequence[CaptionedEvent], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn."""
        shuffled = [events[i] for i in torch.randperm(len(events), generator=generator).tolist()]
        answer = " ".join(f"{event.caption} {event.start:.1f} - {event.end:.1f}." for event in shuffled)
        return [{"q": TIMES_QUESTION, "a": answer}]


class SampledGroundingDataset(EventConversations):
    """Temporal grounding of each event that the frames show, in random order."""

    def turns(self, events: Sequence[CaptionedEvent], generator: torch.Generator) -> list[dict[str, str]]:
        """A turn for each event: from the first to the last of the frames that show it."""
        turns = [
            {"q": GROUNDING_QUESTION.format(query=event.caption), "a": grounding_answer(event.start, event.end)}
            for event in events
        ]
        return [turns[i] for i in torch.randperm(len(turns), generator=generator).tolist()]


class SampledCaptionsDataset(EventConversations):
    """Dense captions of the events that the frames show."""

    def turns(self, events: Sequence[CaptionedEvent], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn."""
        answer = dense_captions_answer((event.start, event.end, event.caption) for event in events)
        return [{"q": CAPTIONING_QUESTION, "a": answer}]


class FrameWordsDataset(EventDataset):
    """Frames with the words of the captions that describe them.

    Attributes:
        vocabulary: the words, in the order of the columns.
    """

    makes = FrameWordsSample

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.vocabulary = vocabulary_of(self.items, f"datasets.{self.name}")
        self._columns = {word: i for i, word in enumerate(self.vocabulary)}

    def sample(self, index: int, generator: torch.Generator) -> FrameWordsSample:
        """Read one sample. Raises SampleError: the file cannot be decoded."""
        video = self.read_video(index, generator)
        words = torch.zeros(len(video.frames), len(self.vocabulary))
        for row, second in enumerate(video.seconds):
            for caption in self.items[index].captions_at(second):
                words[row, [self._columns[word] for word in words_of(caption) if word in self._columns]] = 1
        frames = self.processor(video.frames, generator)
        return FrameWordsSample(frames, self.told(video.seconds, generator), words, self.key(index))


def one_of_each(total: int, count: int, generator: torch.Generator) -> list[int]:
    """Segment sampling: a random index from each of `count` equal segments of [0, total); all if there are no more."""
    count = min(count, total)
    borders = [total * i // count for i in range(count + 1)]
    return [left + _draw(right - left, generator) for left, right in itertools.pairwise(borders)]


def _draw(options: int, generator: torch.Generator) -> int:
    return int(torch.randint(options, (1,), generator=generator))
