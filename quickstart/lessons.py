"""Lessons about the sampled frames, made from annotated events, for a model that is trained from nothing.

A model learns to say *when* only after it can see *what* and read a frame's time. All lessons come from dense captions:
the words that describe a frame, for what comes before the decoder; for the whole model captions before their times, and
the usual questions with answers that name the times of the frames at hand. A lesson may keep few of a video's frames,
so that a model learns with few first, and rarely sees the same twice.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quickstart.answer_templates import dense_captions_answer, grounding_answer
from quickstart.events import Event, EventItem, vocabulary_of, words_of
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


class EventDataset(VideoDataset):
    """Videos with annotated events; what is made of them is for subclasses to say.

    Args:
        frame_counts: how many of the sampled frames a sample keeps, one number drawn for each; empty keeps all.
        one_frame_per_event: keep one random frame of each event instead.
        others: as for VideoDataset.
    """

    items: Sequence[EventItem]

    def __init__(
        self, *others: Any, frame_counts: Sequence[int] = (), one_frame_per_event: bool = False, **settings: Any
    ):
        super().__init__(*others, **settings)
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


class EventConversations(EventDataset, InstructionDataset):
    """Turns about the events that the sampled frames show; a list of the frames where they show none."""

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """Read one sample. Raises as InstructionDataset."""
        video = self.read_video(index, generator)
        frames = self.processor(video.frames, generator)
        return self.encode(index, frames, video.seconds, self.conversation(index, video.seconds, generator))

    def conversation(self, index: int, seconds: Sequence[float], generator: torch.Generator) -> list[dict[str, str]]:
        """The turns about the frames at these seconds."""
        events = self.items[index].seen_at(seconds)
        return self.turns(events, generator) if events else [self.listing(index, seconds)]

    @abstractmethod
    def turns(self, events: Sequence[Event], generator: torch.Generator) -> list[dict[str, str]]:
        """What is said about events, each as the frames show it, in order of time."""

    def listing(self, index: int, seconds: Sequence[float]) -> dict[str, str]:
        """What each frame shows, as a turn."""
        shown = [(time, " ".join(self.items[index].captions_at(time)) or NOTHING) for time in seconds]
        return {"q": LISTING_QUESTION, "a": " ".join(f"{time:.1f}: {captions}" for time, captions in shown)}


class SampledTimesDataset(EventConversations):
    """Each event that the frames show, its caption before its times, in random order.

    Meant to make a model listen: with the caption just said, the times can only be found by looking for the frames that
    it describes. From grounding alone small models learn for long to answer with the times of any event.
    """

    def turns(self, events: Sequence[Event], generator: torch.Generator) -> list[dict[str, str]]:
        """One turn."""
        shuffled = [events[i] for i in torch.randperm(len(events), generator=generator).tolist()]
        answer = " ".join(f"{event.caption} {event.start:.1f} - {event.end:.1f}." for event in shuffled)
        return [{"q": TIMES_QUESTION, "a": answer}]


class SampledGroundingDataset(EventConversations):
    """Temporal grounding of each event that the frames show, in random order."""

    def turns(self, events: Sequence[Event], generator: torch.Generator) -> list[dict[str, str]]:
        """A turn for each event: from the first to the last of the frames that show it."""
        turns = [
            {"q": GROUNDING_QUESTION.format(query=event.caption), "a": grounding_answer(event.start, event.end)}
            for event in events
        ]
        return [turns[i] for i in torch.randperm(len(turns), generator=generator).tolist()]


class SampledCaptionsDataset(EventConversations):
    """Dense captions of the events that the frames show."""

    def turns(self, events: Sequence[Event], generator: torch.Generator) -> list[dict[str, str]]:
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
        return FrameWordsSample(self.processor(video.frames, generator), video.seconds, words, self.key(index))


def one_of_each(total: int, count: int, generator: torch.Generator) -> list[int]:
    """One random index from each of `count` equal intervals of [0, total); all of them if there are no more."""
    count = min(count, total)
    borders = [total * i // count for i in range(count + 1)]
    return [left + _draw(right - left, generator) for left, right in itertools.pairwise(borders)]


def _draw(options: int, generator: torch.Generator) -> int:
    return int(torch.randint(options, (1,), generator=generator))
