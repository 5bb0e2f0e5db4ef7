"""Positions of the stream -> samples -> batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch

from timechat.batch import VideoBatch, pad_conversations
from timechat.datasets.base import VideoDataset
from timechat.datasets.instruction import InstructionSample
from timechat.datasets.sampler import EpochStream, SampleRef, SampleStream, sample_generator
from timechat.datasets.watching import ReadingBoard
from timechat.errors import SampleError, VideoError
from timechat.text.tokenizers import LlamaTokenizer


class Sample(Protocol):
    """What a dataset gives and a task collates."""

    key: str


S = TypeVar("S", bound=Sample)


@dataclass
class Fetched(Generic[S]):
    """The result of reading one position: a sample (None if none was found), and what was skipped on the way.

    A dummy sample belongs to another process; it gives this one something to compute while the others do.
    """

    sample: S | None
    skipped: list[dict[str, Any]] = field(default_factory=list)
    dummy: bool = False


def stream_of(datasets: Sequence[VideoDataset], ratios: Sequence[float], seed: int) -> SampleStream:
    """The stream of a run's datasets; see SampleStream."""
    sizes, orders = [len(dataset) for dataset in datasets], [dataset.order() for dataset in datasets]
    return SampleStream(sizes, ratios, seed, orders)


class StreamDataset(torch.utils.data.Dataset["Fetched[Any]"]):
    """The samples of one epoch by position.

    A sample that cannot be used is replaced by the one at the next position of the stream, so the replacement is the
    same on every machine. What was skipped travels with the batch, to be counted and logged.

    Args:
        datasets: which the stream's references point into.
        stream: the epoch.
        seed, epoch: key the randomness of each sample, together with its position.
        board: where workers note what they read, if anywhere.
        skip: files that must not be opened: the reason, by dataset name and path.
        most_tried: positions after which the search for a usable sample ends; None: all of the epoch.
    """

    def __init__(
        self,
        datasets: Sequence[VideoDataset],
        stream: EpochStream,
        seed: int,
        epoch: int,
        board: ReadingBoard | None = None,
        skip: Mapping[str, Mapping[str, str]] | None = None,
        most_tried: int | None = None,
    ):
        self.datasets, self.stream, self.seed, self.epoch = datasets, stream, seed, epoch
        self.board, self.skip = board, skip or {}
        self.most_tried = min(most_tried or len(stream), len(stream))

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, position: int) -> Fetched[Any]:
        """Read the sample at a position; a position beyond the epoch wraps around and gives a dummy sample.

        Errors other than SampleError pass through, because they mean that the config is wrong.
        """
        if position >= len(self):
            return Fetched(self[position % len(self)].sample, dummy=True)
        skipped: list[dict[str, Any]] = []
        for tried in range(position, position + self.most_tried):
            ref = self.stream[tried % len(self)]
            try:
                return Fetched(self._read(ref, tried % len(self)), skipped)
            except SampleError as error:
                key = self.datasets[ref.dataset].key(ref.index)
                skipped.append({"epoch": self.epoch, "position": position, "sample": key, "error": str(error)})
        return Fetched(None, skipped)

    def _read(self, ref: SampleRef, position: int) -> Sample:
        dataset = self.datasets[ref.dataset]
        if reasons := self.skip.get(dataset.name):
            path = dataset.path(ref.index)
            if path in reasons:
                raise VideoError(path, reasons[path])
        generator = sample_generator(self.seed, self.epoch, position)
        with self.board.note(ref) if self.board else nullcontext():
            return dataset.sample(ref.index, generator)


def notes_of(fetched: Sequence[Fetched[Any]]) -> dict[str, Any]:
    """What every batch records about its samples: the fields `keys`, `skipped` and `dummy` of `Batch`."""
    return {
        "keys": [f.sample.key for f in fetched if f.sample is not None],
        "skipped": [record for f in fetched for record in f.skipped],
        "dummy": any(f.dummy for f in fetched),
    }


def collate(fetched: Sequence[Fetched[InstructionSample]]) -> VideoBatch:
    """Pack the samples of a micro-batch; skipped samples make it shorter, possibly empty."""
    samples = [f.sample for f in fetched if f.sample is not None]
    pairs = [(sample.input_ids, sample.labels) for sample in samples] or [([], [])]
    input_ids, labels, attention_mask = pad_conversations(pairs, LlamaTokenizer.pad_id)
    return VideoBatch(
        frames=torch.cat([sample.frames for sample in samples]) if samples else torch.empty(0, 3, 0, 0),
        frame_counts=[len(sample.frames) for sample in samples],
        seconds=[sample.seconds for sample in samples],
        input_ids=input_ids,
        labels=labels,
        attention_mask=attention_mask,
        **notes_of(fetched),
    )
