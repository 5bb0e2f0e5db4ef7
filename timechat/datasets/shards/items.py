"""The samples of many shards, a million of them in some 150 MB: arrays and names, no object for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from timechat.datasets.presence import Presence
from timechat.datasets.sampler import ShardOrder
from timechat.datasets.shards.index import ShardIndex, index_name, index_text, read_index, scan
from timechat.datasets.shards.storage import base_name, is_url, read_file, size_of
from timechat.errors import AnnotationError
from timechat.io import sha256_of, write_text
from timechat.wording import counted

logger = logging.getLogger(__name__)

THREADS = 16  # indexes that are read, or shards that are looked through, side by side
_LARGEST = np.iinfo(np.int64).max


class ShardItem(NamedTuple):
    """One sample.

    Attributes:
        path: of its video: the shard's name, a slash, and the name in the shard.
        shard: its path or URL.
        video, annotation: offset and size of each in the shard.
    """

    path: str
    shard: str
    video: tuple[int, int]
    annotation: tuple[int, int]


class ShardItems(Sequence[ShardItem]):
    """All samples of some shards, in the order of the shards and of the members in each.

    Args:
        shards: their paths or URLs.
        indexes: what is in each.
        sizes: bytes of each; None for one that is not there.
    """

    def __init__(self, shards: Sequence[str], indexes: Sequence[ShardIndex], sizes: Sequence[int | None]):
        self.shards = list(shards)
        self._names = [index.names for index in indexes]
        self._first_video = np.cumsum([0, *(len(index.videos) for index in indexes)])
        self._first_item = np.cumsum([0, *map(len, indexes)])
        self._videos = np.concatenate([index.videos for index in indexes])
        self._owner = np.concatenate([index.owner for index in indexes])
        self._annotations = np.concatenate([index.annotations for index in indexes])
        self._there = self._in_shards(sizes)
        self.numbers: NDArray[Any] = np.arange(self._first_item[-1])

    def _in_shards(self, sizes: Sequence[int | None]) -> NDArray[Any]:
        """bool [N]: whether a sample's video and annotation are in its shard, as long as that is."""
        ends = np.repeat([-1 if size is None else size for size in sizes], np.diff(self._first_item))
        shards = np.repeat(np.arange(len(self.shards)), np.diff(self._first_item))
        videos = self._videos[self._first_video[shards] + self._owner]
        there = (videos[:, 1] >= 0) & (videos.sum(1) <= ends) & (self._annotations.sum(1) <= ends)
        return np.asarray(there)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> ShardItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ShardItem]: ...
    def __getitem__(self, index: int | slice) -> ShardItem | Sequence[ShardItem]:
        """A sample. Raises IndexError."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = int(self.numbers[index])
        shard = self._shard_of(number)
        owner = int(self._owner[number])
        name = self._names[shard].split(b"\n", owner + 1)[owner]
        video, annotation = self._videos[self._first_video[shard] + owner], self._annotations[number]
        return ShardItem(
            f"{base_name(self.shards[shard])}/{_text(name)}",
            self.shards[shard],
            (int(video[0]), int(video[1])),
            (int(annotation[0]), int(annotation[1])),
        )

    def _shard_of(self, number: int) -> int:
        return int(np.searchsorted(self._first_item, number, side="right")) - 1

    def leave_out(self, paths: Collection[str]) -> None:
        """Drop every sample of some videos."""
        shards: dict[str, set[str]] = {}
        for path in paths:
            shard, _, name = path.partition("/")
            shards.setdefault(shard, set()).add(name)
        keep = np.ones(self._first_item[-1], dtype=bool)
        for number, shard in enumerate(self.shards):
            if names := shards.get(base_name(shard)):
                gone = [name in names for name in self._video_names(number)]
                first, last = self._first_item[number : number + 2]
                keep[first:last] &= ~np.array(gone, dtype=bool)[self._owner[first:last]]
        self.numbers = self.numbers[keep[self.numbers]]

    def _video_names(self, shard: int) -> list[str]:
        return [_text(name) for name in self._names[shard].split(b"\n")[:-1]]

    def order(self, buffer: int) -> ShardOrder:
        """In which order training reads them."""
        counts = np.diff(np.searchsorted(self.numbers, self._first_item))
        return ShardOrder(counts[counts > 0], buffer)

    def presence(self, name: str) -> Presence:
        """Which videos are there.

        Args:
            name: of the dataset.
        """
        there = self._there[self.numbers]
        missing = {path: None for number in np.flatnonzero(~there) for path in [self[int(number)].path]}
        shards = np.searchsorted(self._first_item, self.numbers, side="right") - 1
        files = len(np.unique(self._first_video[shards] + self._owner[self.numbers]))
        return Presence(
            name, os.path.dirname(self.shards[0]), len(self), int(there.sum()), {name: files}, {name: list(missing)}
        )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def read_items(shards: Sequence[str], index_dir: str, where: str) -> ShardItems:
    """Find out what is in some shards.

    Args:
        shards: their paths or URLs.
        index_dir: folder that keeps the indexes of shards that have none beside them; "" keeps them beside the shards.
        where: the setting that names them, for messages.

    Raises:
        AnnotationError: listing all shards that are damaged or, without an index, not there; or there is no sample.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda shard: _look_at(shard, index_dir), shards))
    problems = [problem for problem in found if isinstance(problem, str)]
    if problems:
        listed = "\n  ".join(_first_of(problems))
        raise AnnotationError(
            f"{where}: {len(problems):,} of {counted(len(shards), 'shard')} cannot be used:\n  {listed}"
        )
    known = [entry for entry in found if not isinstance(entry, str)]
    items = ShardItems(shards, [index for index, _ in known], [size for _, size in known])
    unused = sum(index.unused for index, _ in known)
    if unused:
        videos = counted(unused, "video of the shards has", "videos of the shards have")
        logger.warning("%s: %s no annotation (KEY.json) and will not be used", where, videos)
    if not len(items):
        raise AnnotationError(
            f"{where}: no sample in its {counted(len(shards), 'shard')}, a video KEY.mp4 with its KEY.json"
        )
    logger.info("%s: %s in %s", where, counted(len(items), "sample"), counted(len(shards), "shard"))
    return items


_MOST_LISTED = 10


def _first_of(problems: Sequence[str]) -> Iterable[str]:
    yield from problems[:_MOST_LISTED]
    if len(problems) > _MOST_LISTED:
        yield f"and {len(problems) - _MOST_LISTED} more"


def _look_at(shard: str, index_dir: str) -> tuple[ShardIndex, int | None] | str:
    """What is in a shard, and its size; or why it cannot be used."""
    try:
        size = size_of(shard)
        for name in _indexes_of(shard, index_dir):
            content = read_file(name)
            if content is not None:
                return read_index(content.decode("utf-8", "surrogateescape"), name), size
        if size is None:
            return f"{shard}: no such shard, and no {base_name(index_name(shard))} that tells what should be in it"
        members = scan(shard)
        _keep(shard, index_dir, index_text(members))
        return ShardIndex.of(members), size
    except AnnotationError as error:
        return str(error)
    except OSError as error:
        return f"{shard}: cannot be read ({type(error).__name__}: {error})"


def _indexes_of(shard: str, index_dir: str) -> Iterator[str]:
    """Where a shard's index may be."""
    yield index_name(shard)
    if index_dir:
        yield _kept(shard, index_dir)


def _kept(shard: str, index_dir: str) -> str:
    whole = shard if is_url(shard) else os.path.abspath(shard)
    return os.path.join(index_dir, f"{base_name(index_name(shard))[:-4]}.{sha256_of(whole)[:12]}.idx")


def _keep(shard: str, index_dir: str, text: str) -> None:
    """Keep an index for the next time, where that can be."""
    if index_dir:
        write_text(_kept(shard, index_dir), text)
    elif not is_url(shard):
        with suppress(OSError):  # a folder that may only be read: it is looked through each time
            write_text(index_name(shard), text)
