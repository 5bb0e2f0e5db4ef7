"""Every key of an entry of `datasets`, with its default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.config import frames_per_video
from timechat.schema import Section, key, section


@dataclass
class BuildInfo(Section):
    """Where the data is."""

    anno_dir: str = key("", "the annotation file", file=True)
    videos_dir: str = key("", "the folder that its paths are relative to", file=True, may_change=True)
    manifest: str = key(
        "",
        'what `timechat data audit` found unfit in anno_dir, to be left out; "" = nothing',
        file=True,
        may_change=True,  # its path; the runner compares what is left out
    )
    valid_anno_dir: str = key(
        "", 'annotations for run.valid_splits, in the same format; "" = none', file=True, may_change=True
    )
    valid_videos_dir: str = key("", 'their folder; "" = videos_dir', file=True, may_change=True)


@dataclass
class VideoProcessorConfig(Section):
    """Keys of every frame processor; `name` adds those of its processor."""

    name: str = key("alpro_video_train", "a registered processor")
    n_frms: int | None = key(None, "a copy of model.num_frm", least=1)
    image_size: int | None = key(None, "a copy of model.image_size", least=1)


@dataclass
class ImageProcessorConfig(VideoProcessorConfig):
    """What every processor of images has; `name` brings its own keys."""

    name: str = key("blip2_image_train", "a registered processor")


@dataclass
class VideoCropConfig(VideoProcessorConfig):
    """A random resized crop."""

    min_scale: float = key(0.5, "smallest area of the crop, as a share of the frame", least=0, most=1)
    max_scale: float = key(1.0, "largest area of the crop, as a share of the frame", least=0, most=1)

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """Bounds that are the wrong way round."""
        if not 0 < section.min_scale <= section.max_scale:
            given = f"min_scale={section.min_scale}, max_scale={section.max_scale}"
            yield f"{where}: {given}; give 0 < min_scale <= max_scale"


@dataclass
class ImageCropConfig(ImageProcessorConfig, VideoCropConfig):
    """The same for images."""


@dataclass
class VideoProcessors(Section):
    """Processors by split."""

    train: VideoProcessorConfig = section(VideoProcessorConfig, named="processor")


@dataclass
class ImageProcessors(Section):
    """Processors by split."""

    train: ImageProcessorConfig = section(ImageProcessorConfig, named="processor")


@dataclass
class DatasetConfig(Section):
    """A dataset of videos."""

    builder: str = key("video_instruct", "a registered builder; may be omitted if the dataset has the builder's name")
    data_type: str = key("video", "video, or images if the builder reads images", choices=("video",))
    build_info: BuildInfo = section(BuildInfo)
    vis_processor: VideoProcessors = section(VideoProcessors)
    sample_type: str = key(
        "uniform",
        "uniform = evenly spaced frames | rand = one random frame from each of as many segments | headtail = random "
        "frames, half of them from each half",
        choices=("uniform", "rand", "headtail"),
    )
    cache_dir: str = key(
        "", 'folder that caches decoded frames, for small data; "" = no cache', file=True, may_change=True
    )
    sample_ratio: float = key(1.0, "how often this dataset is drawn, relative to the others", least=0)

    num_frm: int | None = key(None, "model.num_frm", heading="Copies of settings of `model`, accepted if equal to it")
    num_video_query_token: int | None = key(None, "model.num_video_query_token")
    stride: int | None = key(None, "model.stride")
    max_txt_len: int | None = key(None, "model.max_txt_len")
    tokenizer_name: str | None = key(None, "model.llama_model", file=True, may_change=True)
    model_type: str | None = key(None, "only llama_v2 works")

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """One setting, one place: the copies of model settings that published files keep must agree with `model`."""
        if section.model_type not in (None, "llama_v2"):
            yield f"{where}.model_type={section.model_type}: only llama_v2 works"
        if not section.build_info.anno_dir:
            return  # nothing is built from it, as in published evaluation files
        model, train = cfg.model, section.vis_processor.train
        frames = frames_per_video(model)
        copies = {
            "num_frm": (section.num_frm, "num_frm", frames),
            "vis_processor.train.n_frms": (train.n_frms, "num_frm", frames),
            "vis_processor.train.image_size": (train.image_size, "image_size", model.image_size),
        }
        same_names = ("num_video_query_token", "stride", "max_txt_len")
        copies |= {name: (section[name], name, model.get(name)) for name in same_names}
        for name, (copy, of, value) in copies.items():
            if copy not in (None, value):
                note = "; set it only in model" if "." not in name else ""
                yield f"{where}.{name}={copy} differs from model.{of}={value}{note}"
        tokenizer, llama = section.tokenizer_name, model.get("llama_model")
        if tokenizer and (llama is None or os.path.normpath(tokenizer) != os.path.normpath(llama)):
            yield f"{where}.tokenizer_name={tokenizer} differs from model.llama_model={llama}"


@dataclass
class ImageDatasetConfig(DatasetConfig):
    """A dataset of images."""

    builder: str = key("image_instruct", "a registered builder; may be omitted if the dataset has the builder's name")
    data_type: str = key("images", "images", choices=("images",))
    # Takes the place of the section for videos, whose keys an image does not have.
    vis_processor: ImageProcessors = section(ImageProcessors)  # type: ignore[assignment]  # narrower
    text_only: str = key(
        "error",
        "items without a picture: error | drop | train, as a conversation alone",
        choices=("error", "drop", "train"),
    )


@dataclass
class ShardInfo(BuildInfo):
    """Where the shards are."""

    anno_dir: str = key(
        "", "folder of .tar files, or train-{000000..000127}.tar, or URLs of these forms (fsspec)", file=True
    )
    videos_dir: str = key("", "nothing: the videos are in the shards", choices=("",))
    valid_anno_dir: str = key("", 'shards for run.valid_splits; "" = none', file=True, may_change=True)
    valid_videos_dir: str = key("", "nothing: the videos are in the shards", choices=("",))
    manifest: str = key("", "nothing: timechat data pack --manifest leaves out what an audit found", choices=("",))


@dataclass
class ShardsConfig(DatasetConfig):
    """A dataset of videos and their annotations in tar files (webdataset)."""

    builder: str = key("shards", "a registered builder; may be omitted if the dataset has the builder's name")
    build_info: ShardInfo = section(ShardInfo)
    shuffle_buffer: int | None = key(
        10_000,
        "shards come in random order, and samples are drawn from a window of so many that moves over them; "
        "null = a random order of all samples",
        least=0,
    )
    index_dir: str = key(
        "", 'folder that keeps the indexes of shards that have none; "" = beside them', file=True, may_change=True
    )
    cache_dir: str = key("", "nothing: frames of shards are not cached", choices=("",))


@dataclass
class CaptionConfig(DatasetConfig):
    """A dataset of videos with one caption each."""

    builder: str = key("caption", "a registered builder; may be omitted if the dataset has the builder's name")
