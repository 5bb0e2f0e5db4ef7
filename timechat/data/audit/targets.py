"""What is audited: the datasets of a config, or one annotation file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat.config import frames_per_video, load_config
from timechat.data.audit.items import Tokens
from timechat.datasets.annotations import Item, check_entry, entry_of_row
from timechat.datasets.builders import CaptionBuilder, DatasetBuilder, ImageInstructBuilder, VideoInstructBuilder
from timechat.datasets.entries import iter_entries, iter_rows
from timechat.errors import ConfigError, TimeChatError
from timechat.model_folder import CONFIG
from timechat.registry import registry
from timechat.sources import missing_path, raise_missing
from timechat.text.tokenizers import load_tokenizer

logger = logging.getLogger(__name__)

Entry = tuple[Item | None, list[str]]  # an item, or what is wrong with it

_YAML = (".yaml", ".yml")
_READ_HERE = (VideoInstructBuilder, ImageInstructBuilder, CaptionBuilder)  # others read formats of their own


@dataclass(frozen=True)
class Target:
    """An annotation file and its videos.

    Attributes:
        name: of the dataset.
        annotations: the file.
        videos_dir: the folder that its paths are relative to.
        entries: reads it, from the beginning, each time that it is called.
        images: whether its files are images.
        tokens: how items become tokens; None if that is not known.
        no_tokens: why not.
        of_config: whether `name` is that of a dataset in a config.
    """

    name: str
    annotations: str
    videos_dir: str
    entries: Callable[[], Iterator[Entry]]
    images: bool = False
    tokens: Tokens | None = None
    no_tokens: str = ""
    of_config: bool = False


def targets_of(path: str, videos_dir: str | None, options: list[str]) -> list[Target]:
    """What a command line names.

    Args:
        path: a YAML file, the folder of a saved model, or annotations: JSON, JSON lines, or WebVid's CSV.
        videos_dir: the folder of the videos, which annotations need and a config has.
        options: overrides of the config.

    Raises:
        ConfigError: the folder is missing or superfluous, or the config is wrong, or names files that are not there.
    """
    if Path(path).is_dir() or Path(path).suffix in _YAML:
        if videos_dir is not None:
            if Path(path).suffix not in _YAML and not Path(path, CONFIG).is_file():
                raise ConfigError(f"{path}: is a folder; give the annotation file, or a YAML config")
            raise ConfigError(
                f"--videos-dir={videos_dir}: {path} says it itself, in build_info.videos_dir; leave it out"
            )
        return list(_of_config(load_config(path, options)))
    if videos_dir is None:
        raise ConfigError(f"{path}: say which folder its videos are in: --videos-dir FOLDER")
    if options:
        raise ConfigError(f"--options: {path} is no config")
    kind = CaptionBuilder if Path(path).suffix == ".csv" else VideoInstructBuilder
    entries, images = _reader(kind, path, videos_dir), False
    reason = f"{path} is no config, which would name a tokenizer and max_txt_len"
    return [Target(Path(path).stem, path, videos_dir, entries, images, no_tokens=reason)]


def _of_config(cfg: DictConfig) -> Iterator[Target]:
    named = {name: entry for name, entry in cfg.datasets.items() if entry.build_info.anno_dir}
    kinds = {name: registry.get_builder_class(entry.builder) for name, entry in named.items()}
    for name in [name for name, kind in kinds.items() if not kind.in_folder]:
        del named[name]
        logger.warning(
            "datasets.%s: left aside, because its videos lie in shards; audit what they are packed from",
            name,
        )
    if not named:
        raise ConfigError("the config names no annotations of videos in a folder: datasets.*.build_info.anno_dir")
    own = [name for name, kind in kinds.items() if issubclass(kind, _READ_HERE) and name in named]
    places = {f"datasets.{name}.build_info.anno_dir": named[name].build_info.anno_dir for name in own}
    gone = {key: path for key, path in places.items() if not Path(path).exists()}
    raise_missing([missing_path(key, path, "no such annotation file") for key, path in gone.items()])
    for name, entry in named.items():
        info, kind = entry.build_info, kinds[name]
        info.manifest = ""  # of an earlier audit
        if issubclass(kind, _READ_HERE):
            entries = _reader(kind, info.anno_dir, info.videos_dir)
        else:
            entries = partial(_items_of, kind, name, entry, cfg.model)
        tokens, reason = _tokens(cfg.model)
        images = issubclass(kind, ImageInstructBuilder)
        yield Target(name, info.anno_dir, info.videos_dir, entries, images, tokens, reason, of_config=True)


def _reader(kind: type[DatasetBuilder], anno: str, videos_dir: str) -> Callable[[], Iterator[Entry]]:
    if issubclass(kind, CaptionBuilder):
        return partial(_rows, anno, videos_dir)
    return partial(_entries, anno, videos_dir, "image" if issubclass(kind, ImageInstructBuilder) else "video")


def _entries(anno: str, videos_dir: str, media: str) -> Iterator[Entry]:
    for number, entry in enumerate(iter_entries(anno, media)):
        yield check_entry(entry, number, videos_dir, media)


def _rows(anno: str, videos_dir: str) -> Iterator[Entry]:
    for number, row in enumerate(iter_rows(anno)):
        yield check_entry(entry_of_row(row), number, videos_dir)


def _items_of(kind: type[DatasetBuilder], name: str, entry: DictConfig, model: DictConfig) -> Iterator[Entry]:
    """The items of a builder that reads a format of its own, and checks it."""
    _, items, _ = kind(name, entry, model).sources()
    for number, item in enumerate(items):
        if not isinstance(item, Item):
            turns: Any = getattr(item, "qa", ())
            item = Item(item.path, tuple(turns), getattr(item, "source", ""))
        yield replace(item, number=number), []


def _tokens(model: DictConfig) -> tuple[Tokens | None, str]:
    """How items become tokens, or why that cannot be said here."""
    try:
        load_tokenizer(model.llama_model)
        count = registry.get_model_class(model.arch).count_video_tokens
        counts = tuple(count(model, frames) for frames in range(1, frames_per_video(model) + 1))
    except TimeChatError as error:
        return None, str(error)
    return Tokens(model.llama_model, model.max_txt_len, counts, model.list_seconds, model.fps), ""
