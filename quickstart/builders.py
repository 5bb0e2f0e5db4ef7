"""Builders of lessons about sampled frames, from dense captions in COCO format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from omegaconf import DictConfig

from quickstart.events import EventVideo, read_events
from quickstart.lessons import (
    EventConversations,
    FrameWordsDataset,
    SampledCaptionsDataset,
    SampledGroundingDataset,
    SampledTimesDataset,
)
from timechat.config import frames_per_video
from timechat.datasets.base import VideoDataset
from timechat.datasets.builders import DatasetBuilder
from timechat.datasets.config import DatasetConfig
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.schema import key


@dataclass
class LessonConfig(DatasetConfig):
    """A lesson about the sampled frames."""

    frame_counts: list[int] = key([], "keep so many random frames, one of these numbers; [] keeps all")
    frames_per_event: int | None = key(None, "keep so many random frames of each event; null keeps all", least=1)
    times_below: int | None = key(
        None,
        "tell the model other times: different whole seconds below this number, in order; null = their own",
        least=1,
    )

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """As for every dataset; also numbers of frames that a video does not have."""
        yield from super().conflicts(where, section, cfg)
        counts, most = list(section.frame_counts), frames_per_video(cfg.model)
        if not all(1 <= count <= most for count in counts):
            yield f"{where}.frame_counts={counts}: must be whole numbers from 1 to model.num_frm={most}"
        if counts and section.frames_per_event:
            yield (
                f"{where}: frame_counts={counts} and frames_per_event={section.frames_per_event} both choose frames; "
                "remove one of them"
            )
        longest = max(counts) if counts else most
        if section.times_below is not None and not section.frames_per_event and section.times_below < longest:
            yield (
                f"{where}.times_below={section.times_below}: up to {longest} frames need as many different times; give "
                f"{longest} or more, or smaller numbers in {where}.frame_counts"
            )


class LessonBuilder(DatasetBuilder):
    """Reads the events and chooses frames; subclasses make the lesson."""

    def read_items(self, anno: str, videos_dir: str) -> list[EventVideo]:
        """The annotated videos; if frames of each event are chosen, only those with several events."""
        items = read_events(anno, videos_dir)
        if not self.cfg.frames_per_event:
            return items
        several = [item for item in items if len(item.events) > 1]
        if not several:
            chosen = f"datasets.{self.name}.frames_per_event={self.cfg.frames_per_event}"
            raise ConfigError(f"{chosen}: no video of {anno} has several events")
        return several

    def reading(self) -> dict[str, Any]:
        """As for every dataset, and which frames the lesson keeps."""
        chosen = {"frame_counts": list(self.cfg.frame_counts)}
        chosen |= {name: self.cfg[name] for name in ("frames_per_event", "times_below")}
        return super().reading() | chosen


class ConversationBuilder(LessonBuilder):
    """Lessons of questions and answers."""

    dataset_class: ClassVar[type[EventConversations]]

    def build(self) -> VideoDataset:
        """Read the annotations and make the dataset. Raises ConfigError, AnnotationError."""
        return self.dataset_class(*self.sources(), **self.reading(), budget=self.token_budget())


@registry.register_builder("sampled_times", config=LessonConfig)
class SampledTimesBuilder(ConversationBuilder):
    """The events that the sampled frames show, in random order, captions before times."""

    dataset_class = SampledTimesDataset


@registry.register_builder("sampled_grounding", config=LessonConfig)
class SampledGroundingBuilder(ConversationBuilder):
    """Temporal grounding within the sampled frames."""

    dataset_class = SampledGroundingDataset


@registry.register_builder("sampled_captions", config=LessonConfig)
class SampledCaptionsBuilder(ConversationBuilder):
    """Dense captions of the sampled frames."""

    dataset_class = SampledCaptionsDataset


@registry.register_builder("frame_words", config=LessonConfig)
class FrameWordsBuilder(LessonBuilder):
    """Frames and the words that describe them, for the task `frame_classification`."""

    def build(self) -> VideoDataset:
        """Read the annotations and make the dataset. Raises ConfigError, AnnotationError."""
        return FrameWordsDataset(*self.sources(), **self.reading())
