"""Config entry -> dataset. A few builders serve all datasets, and are also registered under the published names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig

from timechat.config import frame_sampling, merged_configs, without
from timechat.datasets.annotations import Item, read_captions, read_instructions
from timechat.datasets.base import VideoDataset
from timechat.datasets.config import CaptionConfig, DatasetConfig, ImageDatasetConfig
from timechat.datasets.frame_cache import FrameCache
from timechat.datasets.instruction import InstructionDataset, TokenBudget
from timechat.datasets.manifest import Manifest, read_manifest
from timechat.datasets.presence import Presence, look_for
from timechat.datasets.processors import FrameProcessor
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import Video, load_image, load_video
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.sources import Missing, missing_path
from timechat.text.tokenizers import load_tokenizer

logger = logging.getLogger(__name__)

# Folder, in that of cached frames, of what the readers have found out about each file.
LOOKS = "looks"
VIDEOS = "videos: docs/DATA.md says where each collection comes from"


class DatasetBuilder:
    """Builds one dataset of video instructions; subclasses read other annotations or make other datasets.

    Args:
        name: of the entry under `datasets`.
        cfg: that entry, with defaults.
        model: the config's `model` section, which decides number and size of frames and number of tokens.

    Attributes:
        in_folder: whether the annotations are one file, and the videos lie in a folder.
        manifest: what `build_info.manifest` leaves out; None before `sources`, and if no manifest is named.
    """

    in_folder: ClassVar[bool] = True

    def __init__(self, name: str, cfg: DictConfig, model: DictConfig):
        self.name, self.cfg, self.model = name, cfg, model
        self.manifest: Manifest | None = None

    def build(self) -> VideoDataset:
        """Read the annotations and make the dataset. Raises ConfigError, AnnotationError."""
        return InstructionDataset(*self.sources(), **self.reading(), budget=self.token_budget())

    def presence(self) -> Presence:
        """Which of its videos exist, whether or not there are tokenizers. Raises ConfigError, AnnotationError."""
        name, items, videos_dir = self.sources()
        named = [(item.path, getattr(item, "source", "") or name) for item in items if item.path]
        return look_for(name, named, videos_dir)

    @classmethod
    def missing_files(cls, where: str, kind: str, info: Mapping[str, Any]) -> Iterator[Missing]:
        """What is missing of the annotations and the folder of videos; the videos themselves are not looked for.

        Args:
            where: the section, for messages.
            kind: "" for training data, "valid_" for validation data: how the keys begin.
            info: the section's keys, of which the annotations' is not empty.
        """
        anno, videos = f"{kind}anno_dir", f"{kind}videos_dir"
        if not Path(info[anno]).is_file():
            yield missing_path(f"{where}.{anno}", info[anno], "no such annotation file")
        if info[videos] and not Path(info[videos]).is_dir():
            yield Missing(f"{where}.{videos}={info[videos]}", "no such folder", VIDEOS)

    def sources(self) -> tuple[str, Sequence[Any], str]:
        """Name, items and folder of videos: the first arguments of a dataset. Raises ConfigError, AnnotationError."""
        info = self.cfg.build_info
        if not info.anno_dir:
            raise ConfigError(f"datasets.{self.name}.build_info.anno_dir is empty: name the annotation file")
        if path := info.get("manifest"):
            self.manifest = read_manifest(path, info.anno_dir)
            level = logging.WARNING if self.manifest.numbers else logging.INFO
            logger.log(level, "datasets.%s: %s", self.name, self.manifest)
        items, left_out = self.read_items(info.anno_dir, info.videos_dir), self.left_out
        if left_out and any(getattr(item, "number", None) is None for item in items):  # none is left out yet
            items = [item for number, item in enumerate(items) if number not in left_out]
        return self.name, items, info.videos_dir

    @property
    def left_out(self) -> frozenset[int]:
        """Numbers of the items that the manifest leaves out."""
        return self.manifest.numbers if self.manifest else frozenset()

    def reading(self) -> dict[str, Any]:
        """How a dataset reads a video and what it does to its frames: `load` and `processor`."""
        return {"load": self.loader(), "processor": self.processor()}

    def read_items(self, anno: str, videos_dir: str) -> Sequence[Any]:
        """The items of the annotation file, each with a `path`.

        Items that have a `number`, their position in the file, come without those of `left_out`.
        """
        return read_instructions(anno, videos_dir, left_out=self.left_out)

    def token_budget(self) -> TokenBudget:
        """How a sample becomes tokens, according to the model's class. Raises ConfigError: it has no decoder."""
        model = self.model
        count = partial(registry.get_model_class(model.arch).count_video_tokens, model)
        count(1)  # raises now if the model has no decoder
        return TokenBudget(load_tokenizer(model.llama_model), model.max_txt_len, count, model.list_seconds)

    def loader(self) -> Callable[..., Video]:
        """The function that reads a file: (path, generator) -> Video."""
        wanted, sampling = frame_sampling(self.model), self.cfg.sample_type
        cached = self.cfg.cache_dir
        settings = ReaderSettings.of(self.model, looks_dir=os.path.join(cached, LOOKS) if cached else "")
        load = partial(_load_sampled, **wanted, sampling=sampling, settings=settings)
        if not cached:
            return load
        if sampling != "uniform":
            raise ConfigError(
                f"datasets.{self.name}.cache_dir={cached}: sample_type={sampling} samples different frames "
                "each time, which cannot be cached; set sample_type=uniform or cache_dir=''"
            )
        rate = f", {wanted['fps']} a second" if wanted["fps"] else ""
        return FrameCache(
            load, cached, f"{wanted['n_frms']} frames of {wanted['image_size']} by {settings.reader}{rate}"
        )

    def processor(self) -> FrameProcessor:
        """The processor of the train split, made from the keys of its section."""
        section = self.cfg.vis_processor.train
        settings = {key: value for key, value in section.items() if key not in ("name", "n_frms")}
        return registry.get_processor_class(section.name)(**{**settings, "image_size": self.model.image_size})


def _load_sampled(path: str, generator: torch.Generator, **how: Any) -> Video:
    return load_video(path, generator=generator, **how)


def _load_single(path: str, generator: torch.Generator, *, image_size: int) -> Video:
    return load_image(path, image_size=image_size)


@registry.register_builder("time_instruct", config=DatasetConfig)
@registry.register_builder("valley72k_instruct", config=DatasetConfig)
@registry.register_builder("youcook2_instruct", config=DatasetConfig)
@registry.register_builder("charades_instruct", config=DatasetConfig)
@registry.register_builder("qvhighlights_instruct", config=DatasetConfig)
@registry.register_builder("webvid_instruct", config=DatasetConfig)
@registry.register_builder("video_instruct", config=DatasetConfig)
class VideoInstructBuilder(DatasetBuilder):
    """TimeIT, Valley and other datasets in their format."""


@registry.register_builder("llava_instruct", config=ImageDatasetConfig)
@registry.register_builder("image_instruct", config=ImageDatasetConfig)
class ImageInstructBuilder(DatasetBuilder):
    """LLaVA-style instructions about images; an image is a video of one frame without times."""

    def build(self) -> VideoDataset:
        """As the base class does, but without times."""
        how = {"timestamps": False, "blank_size": self.model.image_size}
        return InstructionDataset(*self.sources(), **self.reading(), budget=self.token_budget(), **how)

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The items of the annotation file, with the path under `image`; "" for text alone."""
        return read_instructions(anno, videos_dir, "image", self.left_out, self.cfg.text_only)

    def loader(self) -> partial[Video]:
        """The function that reads a file: (path, generator) -> Video of one frame."""
        return partial(_load_single, image_size=self.model.image_size)


@registry.register_builder("webvid", config=CaptionConfig)
@registry.register_builder("caption", config=CaptionConfig)
class CaptionBuilder(DatasetBuilder):
    """WebVid's captions."""

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The rows of the CSV file."""
        return read_captions(anno, videos_dir, self.left_out)


# The processor that does not change frames, by data_type.
_UNCHANGED = {"video": "alpro_video_eval", "images": "blip_image_eval"}


def validation_config(cfg: DictConfig) -> DictConfig:
    """The config with validation data in place of training data; datasets without validation data are left out.

    Frames are sampled uniformly and not cropped.
    """
    datasets = {}
    for name, entry in cfg.datasets.items():
        info = entry.build_info
        if info.valid_anno_dir:
            changed = datasets[name] = entry.copy()
            changed.build_info.anno_dir = info.valid_anno_dir
            changed.build_info.videos_dir = info.valid_videos_dir or info.videos_dir
            changed.build_info.manifest = ""  # of the training data
            changed.vis_processor.train = {"name": _UNCHANGED[entry.data_type]}
            changed.sample_type = "uniform"
    return merged_configs(without(cfg, "datasets"), {"datasets": datasets})


def build_datasets(cfg: DictConfig) -> list[VideoDataset]:
    """Build every dataset of a config, in its order. Raises ConfigError, AnnotationError."""
    if not cfg.datasets:
        raise ConfigError("datasets is empty; training needs at least one")
    datasets = []
    for name, entry in cfg.datasets.items():
        builder: DatasetBuilder = registry.get_builder_class(entry.builder)(name, entry, cfg.model)
        datasets.append(builder.build())
        datasets[-1].manifest = builder.manifest
    return datasets
