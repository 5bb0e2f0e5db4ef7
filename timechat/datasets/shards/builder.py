"""`builder: shards`, for annotations and videos in tar files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from timechat.datasets.base import VideoDataset
from timechat.datasets.builders import DatasetBuilder
from timechat.datasets.config import ShardsConfig
from timechat.datasets.presence import Presence
from timechat.datasets.shards.dataset import ShardDataset
from timechat.datasets.shards.items import ShardItems, read_items
from timechat.datasets.shards.storage import is_url, shards_of
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.sources import Missing, missing_path


@registry.register_builder("shards", config=ShardsConfig)
class ShardsBuilder(DatasetBuilder):
    """Shards in webdataset's layout, as `timechat data pack` writes them."""

    in_folder = False

    def build(self) -> VideoDataset:
        """Find out what is in the shards. Raises ConfigError, AnnotationError."""
        items, buffer = self.shard_items(), self.cfg.shuffle_buffer
        return ShardDataset(self.name, items, shuffle_buffer=buffer, **self.reading(), budget=self.token_budget())

    def shard_items(self) -> ShardItems:
        """Where each sample is. Raises ConfigError, AnnotationError."""
        where = f"datasets.{self.name}.build_info.anno_dir"
        pattern = self.cfg.build_info.anno_dir
        if not pattern:
            raise ConfigError(f"{where} is empty: name the shards")
        return read_items(shards_of(pattern, where), self.cfg.index_dir, f"{where}={pattern}")

    def presence(self) -> Presence:
        """Which videos are there, by the indexes and the sizes of the shards. Raises ConfigError, AnnotationError."""
        return self.shard_items().presence(self.name)

    @classmethod
    def missing_files(cls, where: str, kind: str, info: Mapping[str, Any]) -> Iterator[Missing]:
        """The shards, if none are there; a URL is not asked here."""
        pattern = info[f"{kind}anno_dir"]
        if not is_url(pattern) and not _some_exist(pattern):
            yield missing_path(f"{where}.{kind}anno_dir", pattern, "no such shard")


def _some_exist(pattern: str) -> bool:
    try:
        names = shards_of(pattern, "")
    except ConfigError:
        return False
    return any(Path(name).exists() for name in names)
