"""What a dataset is: annotated videos or images, read one sample at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from timechat.datasets.manifest import Manifest
from timechat.datasets.presence import Presence, look_for
from timechat.datasets.sampler import ShardOrder
from timechat.datasets.video import Video


class VideoDataset(torch.utils.data.Dataset[Any], ABC):
    """Base of all datasets; a subclass defines in `sample` what is made of an item.

    Args:
        name: of the dataset, for messages.
        items: entries of the annotation file; each has the `path` of its media file, and may have its `number` there.
        videos_dir: the folder that their paths are relative to.
        load: reads a file: (path, generator) -> Video; for an item with a clip, also `start` and `end` in seconds.
        processor: uint8 [T, 3, H, W] -> uint8 [T, 3, H', W'].

    Attributes:
        makes: the class of the samples, which decides which tasks can use them.
        manifest: what an audit left out of the items, if the config names a manifest.
    """

    makes: ClassVar[type]
    manifest: Manifest | None = None

    def __init__(
        self,
        name: str,
        items: Sequence[Any],
        videos_dir: str | Path,
        *,
        load: Callable[..., Video],
        processor: Callable[[Tensor, torch.Generator], Tensor],
    ):
        self.name = name
        self.items = items
        self._numbers = self._numbers_of(items)
        self.videos_dir = Path(videos_dir)
        self.load, self.processor = load, processor

    @staticmethod
    def _numbers_of(items: Sequence[Any]) -> Sequence[int]:
        """The position of each item in the annotation file."""
        numbers = (getattr(item, "number", None) for item in items)
        return [i if number is None else number for i, number in enumerate(numbers)]

    def __len__(self) -> int:
        return len(self.items)

    def key(self, index: int) -> str:
        """Where a sample comes from, for logs: dataset, position in the annotation file, file."""
        return f"{self.name}[{self._numbers[index]}] {self.path(index)}"

    def path(self, index: int) -> str:
        """The file of a sample, relative to `videos_dir`; several samples may share one file."""
        return self.items[index].path

    def source(self, index: int) -> str:
        """Which collection a sample's file belongs to: what its annotation says, else the dataset's name."""
        return getattr(self.items[index], "source", "") or self.name

    def presence(self) -> Presence:
        """Look for every file."""
        samples = [(self.path(index), self.source(index)) for index in range(len(self))]
        return look_for(self.name, samples, self.videos_dir)

    def order(self) -> ShardOrder | None:
        """The order in which training reads the samples; None: any, so each pass shuffles all of them."""
        return None

    def leave_out(self, paths: Collection[str]) -> None:
        """Drop every sample of some files; the others keep their order, and their keys."""
        kept = [index for index in range(len(self)) if self.path(index) not in paths]
        self._numbers = [self._numbers[index] for index in kept]
        self.items = [self.items[index] for index in kept]

    def read_video(self, index: int, generator: torch.Generator) -> Video:
        """The sampled frames of an item. Raises SampleError: the file cannot be decoded."""
        item = self.items[index]
        part = {"start": item.start, "end": item.end} if getattr(item, "end", None) is not None else {}
        return self.load(str(self.videos_dir / self.path(index)), generator, **part)

    @abstractmethod
    def sample(self, index: int, generator: torch.Generator) -> Any:
        """Read one sample, which has a `key`; all its randomness comes from the generator.

        Raises:
            SampleError: it cannot be used; training replaces it by another one and counts it.
        """
