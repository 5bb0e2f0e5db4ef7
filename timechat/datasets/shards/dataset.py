"""Samples that are read out of shards."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from timechat.datasets.annotations import turns_of
from timechat.datasets.clip_names import clip_of
from timechat.datasets.instruction import InstructionDataset, InstructionSample
from timechat.datasets.presence import Presence
from timechat.datasets.sampler import ShardOrder
from timechat.datasets.shards.index import BLOCK
from timechat.datasets.shards.items import ShardItem, ShardItems
from timechat.datasets.shards.storage import read_ranges
from timechat.errors import SampleError, VideoError

# Members with so many bytes between them are read in one piece.
_GAP = 1 << 16


class ShardDataset(InstructionDataset):
    """Question-answer turns about videos, both in shards.

    Args:
        name: of the dataset.
        items: where each sample is.
        shuffle_buffer: see ShardOrder; None: the whole dataset is shuffled.
        settings: `load`, `processor` and `budget`, as for InstructionDataset.
    """

    items: ShardItems

    def __init__(self, name: str, items: ShardItems, *, shuffle_buffer: int | None, **settings: Any):
        super().__init__(name, items, "", **settings)
        self.shuffle_buffer = shuffle_buffer

    def order(self) -> ShardOrder | None:
        """The order in which training reads the shards; None for any."""
        return None if self.shuffle_buffer is None else self.items.order(self.shuffle_buffer)

    @staticmethod
    def _numbers_of(items: Sequence[Any]) -> Sequence[int]:
        """Nothing for each of a million: the items know."""
        return ()

    def key(self, index: int) -> str:
        """Where a sample comes from, for logs: dataset, position in the shards, shard and video."""
        return f"{self.name}[{self.items.numbers[index]}] {self.path(index)}"

    def leave_out(self, paths: Collection[str]) -> None:
        """Drop every sample of some videos; the others keep their order, and their keys."""
        self.items.leave_out(paths)

    def presence(self) -> Presence:
        """Which videos are there, by the indexes and the sizes of the shards."""
        return self.items.presence(self.name)

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """Read one sample; all its randomness comes from the generator.

        Raises:
            SampleError: the shard cannot be read or is not what its index says, the annotation or the video is damaged,
                or the cut leaves nothing to learn.
            ConversationError: `max_txt_len` would drop video tokens.
        """
        item = self.items[index]
        annotation, video = read_members(item)
        entry = _parsed(annotation, item.path)
        turns, clip = turns_of(entry, item.path), clip_of(entry)
        part = {"start": clip.start, "end": clip.end} if clip else {}
        with _as_file(item.path, video) as file:
            try:
                read = self.load(file, generator, **part)
            except VideoError as error:
                raise VideoError(item.path, error.reason) from error
        return self.encode(index, self.processor(read.frames, generator), read.seconds, turns)


def read_members(item: ShardItem) -> tuple[bytes, bytes]:
    """The annotation and the video of a sample. Raises VideoError: they are not where the index says."""
    members = [item.annotation, item.video]
    spans = [(offset - BLOCK, offset + size) for offset, size in members]
    (_, end), (begin, _) = sorted(spans)
    if 0 <= begin - end <= _GAP:
        first = min(spans)[0]
        ranges = [(first, max(spans)[1])]
    else:
        first, ranges = 0, spans
    try:
        parts = read_ranges(item.shard, ranges)
    except OSError as error:
        raise VideoError(item.path, f"its shard cannot be read ({type(error).__name__}: {error}).") from error
    if len(parts) == 1:
        parts = [parts[0][start - first : stop - first] for start, stop in spans]
    for part, (_, size) in zip(parts, members, strict=True):
        _check(item, part, size)
    return parts[0][BLOCK:], parts[1][BLOCK:]


def _check(item: ShardItem, part: bytes, size: int) -> None:
    """Refuse what is no member of that size, with its header before it."""
    if len(part) < BLOCK + size:
        raise VideoError(item.path, f"{item.shard} ends inside of it. Download the shard again.")
    try:
        header = tarfile.TarInfo.frombuf(part[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        header = None
    if header is None or header.size != size:
        raise VideoError(
            item.path,
            f"{item.shard} is not what its index says, which belongs to another shard, or the shard is damaged. "
            "Download both again, or remove the index.",
        )


def _parsed(annotation: bytes, path: str) -> Any:
    try:
        return json.loads(annotation)
    except (ValueError, RecursionError) as error:
        raise SampleError(
            f"{path}: its annotation is not valid JSON ({error}); write the shard again, or leave the sample out of it"
        ) from error


@contextmanager
def _as_file(path: str, content: bytes) -> Iterator[str]:
    """A file for a moment, of the same name: FFmpeg wants one that it can seek in."""
    with tempfile.TemporaryDirectory(prefix="timechat-") as folder:
        file = os.path.join(folder, os.path.basename(path))
        with open(file, "wb") as written:
            written.write(content)
        yield file
