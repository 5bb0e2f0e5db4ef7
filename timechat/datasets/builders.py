"""Config entry -> dataset. A few builders serve all datasets; which one a name uses stands in its YAML file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig, OmegaConf

from timechat.config import frames_per_video
from timechat.datasets.annotations import Item, read_captions, read_instructions
from timechat.datasets.events import (
    EventDataset,
    EventItem,
    FrameWordsDataset,
    SampledCaptionsDataset,
    SampledGroundingDataset,
    SampledListingDataset,
    SampledTimesDataset,
    read_events,
)
from timechat.datasets.frame_cache import FrameCache
from timechat.datasets.instruction import InstructionDataset, TokenBudget
from timechat.datasets.processors import Processor
from timechat.datasets.video import Video, load_image, load_video
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.text.tokenizers import load_tokenizer


class DatasetBuilder:
    """Builds one dataset.

    Args:
        name: of the entry under `datasets`.
        cfg: that entry, defaults filled in.
        model: the config's `model` section, which says how many frames of what size become how many tokens.
    """

    data_type = "video"
    dataset_class: ClassVar[type[InstructionDataset]] = InstructionDataset

    def __init__(self, name: str, cfg: DictConfig, model: DictConfig):
        self.name, self.cfg, self.model = name, cfg, model
        if cfg.data_type != self.data_type:
            raise ConfigError(
                f"datasets.{name}.data_type={cfg.data_type}: builder {cfg.builder} reads data_type {self.data_type}"
            )

    def build(self) -> InstructionDataset:
        """Read the annotations and make the dataset. Raises ConfigError, AnnotationError."""
        model, info = self.model, self.cfg.build_info
        if not info.anno_dir:
            raise ConfigError(f"datasets.{self.name}.build_info.anno_dir is empty: name the annotation file")
        budget = TokenBudget(
            tokenizer=load_tokenizer(model.llama_model),
            max_txt_len=model.max_txt_len,
            stride=model.stride,
            window_size=model.window_size,
            num_video_query_token=model.num_video_query_token,
            list_seconds=model.list_seconds,
        )
        return self.dataset_class(
            self.name,
            self.read_items(info.anno_dir, info.videos_dir),
            info.videos_dir,
            load=self.loader(),
            processor=self.processor(),
            budget=budget,
            timestamps=self.data_type == "video",
            **self.settings(),
        )

    def settings(self) -> dict[str, Any]:
        """What the dataset takes besides."""
        if self.cfg.frame_counts or self.cfg.one_frame_per_event:
            raise ConfigError(
                f"datasets.{self.name}: frame_counts and one_frame_per_event choose frames for the builders of lessons "
                f"about sampled frames alone, not for {self.cfg.builder}; remove them"
            )
        return {}

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The items of the annotation file."""
        return read_instructions(anno, videos_dir)

    def loader(self) -> Callable[[str, torch.Generator], Video]:
        """What reads a file: (path, generator) -> Video."""
        frames, side, sampling = frames_per_video(self.model), self.model.image_size, self.cfg.sample_type
        load = partial(_load_sampled, n_frms=frames, image_size=side, sampling=sampling)
        if not self.cfg.cache_dir:
            return load
        if sampling != "uniform":
            raise ConfigError(
                f"datasets.{self.name}.cache_dir={self.cfg.cache_dir}: sample_type={sampling} takes other frames each "
                "time, which cannot be kept; set sample_type=uniform or cache_dir=''"
            )
        return FrameCache(load, self.cfg.cache_dir, f"{frames} frames of {side}")

    def processor(self) -> Processor:
        """The processor of the train split."""
        settings = {k: v for k, v in self.cfg.vis_processor.train.items() if v is not None and k != "n_frms"}
        cls = registry.get_processor_class(settings["name"])
        return cls.from_config({**settings, "image_size": self.model.image_size})


def _load_sampled(path: str, generator: torch.Generator, *, n_frms: int, image_size: int, sampling: str) -> Video:
    return load_video(path, n_frms=n_frms, image_size=image_size, sampling=sampling, generator=generator)


def _load_single(path: str, generator: torch.Generator, *, image_size: int) -> Video:
    return load_image(path, image_size=image_size)


@registry.register_builder("video_instruct")
class VideoInstructBuilder(DatasetBuilder):
    """TimeIT, Valley and everything in their format."""


@registry.register_builder("image_instruct")
class ImageInstructBuilder(DatasetBuilder):
    """LLaVA-style instructions about images; an image is a video of one frame without times."""

    data_type = "images"

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The items of the annotation file, whose paths stand under `image`."""
        return read_instructions(anno, videos_dir, media="image")

    def loader(self) -> partial[Video]:
        """What reads a file: (path, generator) -> Video of one frame."""
        return partial(_load_single, image_size=self.model.image_size)


@registry.register_builder("caption")
class CaptionBuilder(DatasetBuilder):
    """WebVid's captions."""

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The rows of the CSV file."""
        return read_captions(anno, videos_dir)


class EventBuilder(DatasetBuilder):
    """Dense captions in coco form, as lessons about single frames."""

    dataset_class: ClassVar[type[EventDataset]]

    def read_items(self, anno: str, videos_dir: str) -> list[EventItem]:
        """The annotated videos; with one frame an event those of several events, the others have nothing to choose."""
        items = read_events(anno, videos_dir)
        if not self.cfg.one_frame_per_event:
            return items
        several = [item for item in items if len(item.events) > 1]
        if not several:
            raise ConfigError(f"datasets.{self.name}.one_frame_per_event=true: no video of {anno} has several events")
        return several

    def settings(self) -> dict[str, Any]:
        """How many frames a sample keeps. Raises ConfigError."""
        counts, most = list(self.cfg.frame_counts), frames_per_video(self.model)
        if not all(isinstance(count, int) and 1 <= count <= most for count in counts):
            raise ConfigError(
                f"datasets.{self.name}.frame_counts={counts}: must be whole numbers from 1 to model.num_frm={most}"
            )
        if counts and self.cfg.one_frame_per_event:
            raise ConfigError(
                f"datasets.{self.name}: frame_counts={counts} and one_frame_per_event=true both choose frames; "
                "remove one of them"
            )
        return {"frame_counts": counts, "one_frame_per_event": self.cfg.one_frame_per_event}


@registry.register_builder("sampled_listing")
class SampledListingBuilder(EventBuilder):
    """Lists of the sampled frames: the time of each and what it shows."""

    dataset_class = SampledListingDataset


@registry.register_builder("sampled_times")
class SampledTimesBuilder(EventBuilder):
    """The events of the sampled frames in random order, captions before times."""

    dataset_class = SampledTimesDataset


@registry.register_builder("sampled_grounding")
class SampledGroundingBuilder(EventBuilder):
    """Temporal grounding within the sampled frames."""

    dataset_class = SampledGroundingDataset


@registry.register_builder("sampled_captions")
class SampledCaptionsBuilder(EventBuilder):
    """Dense captions of the sampled frames."""

    dataset_class = SampledCaptionsDataset


@registry.register_builder("frame_words")
class FrameWordsBuilder(EventBuilder):
    """Frames and the words that describe them, for the task frame_classification."""

    dataset_class = FrameWordsDataset


# The processor that leaves frames as they are, by data_type.
_UNCHANGED = {"video": "alpro_video_eval", "images": "blip_image_eval"}


def validation_config(cfg: DictConfig) -> DictConfig:
    """The config with the validation data of each dataset that has some in the place of its training data.

    Frames are sampled evenly and not cropped.
    """
    datasets = {}
    for name, entry in cfg.datasets.items():
        info = entry.build_info
        if info.valid_anno_dir:
            change = {
                "build_info": {"anno_dir": info.valid_anno_dir, "videos_dir": info.valid_videos_dir or info.videos_dir},
                "vis_processor": {"train": {"name": _UNCHANGED[entry.data_type]}},
                "sample_type": "uniform",
            }
            datasets[name] = OmegaConf.merge(entry, change)
    return OmegaConf.merge(
        OmegaConf.masked_copy(cfg, [key for key in cfg if key != "datasets"]), {"datasets": datasets}
    )


def build_datasets(cfg: DictConfig) -> list[InstructionDataset]:
    """Build every dataset of a config, in its order. Raises ConfigError, AnnotationError."""
    if not cfg.datasets:
        raise ConfigError("datasets: is empty; training needs at least one")
    return [
        registry.get_builder_class(entry.builder)(name, entry, cfg.model).build()
        for name, entry in cfg.datasets.items()
    ]
