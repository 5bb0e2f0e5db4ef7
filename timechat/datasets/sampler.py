"""Which sample is at which position of an epoch, and which positions a rank reads.

All ranks share one stream, a pure function of (seed, epoch, position): it does not depend on the number of processes,
on workers, or on what was read before, so a resumed run reads what the first one would have read. The ranks divide the
stream among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from timechat.errors import ConfigError

# Third number of every random key: draws for different purposes never share a generator.
_DATASET_DRAW, _PERMUTATION, _ONE_PASS, _SAMPLE = range(4)


@dataclass(frozen=True)
class ShardOrder:
    """The order of samples that lie one behind the other in shards, which are to be read nearly in one go.

    In each pass the shards come in random order, and a window of `buffer` samples moves over them, from which the next
    one is drawn: as a shuffle buffer does, but nothing is held. Where each sample comes is drawn for the whole pass, so
    the state of the shuffle is the position in the stream. A sample comes at most `buffer` places, mostly less than
    half of that, before or behind its place in the shards.

    Attributes:
        sizes: int64 [shards], samples of each, in the order of the dataset.
        buffer: samples; 0 keeps the order within each shard.
    """

    sizes: NDArray[Any]
    buffer: int

    def one_pass(self, generator: np.random.Generator) -> NDArray[Any]:
        """The indices of all samples, int64, in the order of one pass."""
        ends = np.cumsum(self.sizes)
        shards = np.argsort(generator.random(len(self.sizes)), kind="stable")
        in_shards = np.concatenate([np.arange(ends[shard] - self.sizes[shard], ends[shard]) for shard in shards])
        # Keys that overlap over `buffer` places; sorting them is the shuffle.
        places = np.arange(len(in_shards)) + self.buffer * generator.random(len(in_shards))
        return in_shards[np.argsort(places, kind="stable")]


@dataclass(frozen=True)
class SampleRef:
    """One sample: its dataset's place in the list of datasets, and its index in that dataset."""

    dataset: int
    index: int


class EpochStream:
    """The samples of one epoch, in order.

    Args:
        datasets: int32 [L], the dataset of each position.
        indices: int64 [L], the index in that dataset.
    """

    def __init__(self, datasets: NDArray[Any], indices: NDArray[Any]):
        self.datasets = datasets
        self.indices = indices

    def __len__(self) -> int:
        return len(self.datasets)

    def __getitem__(self, position: int) -> SampleRef:
        """The sample at a position in [0, L). Raises IndexError."""
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} of an epoch of {len(self)} samples")
        return SampleRef(int(self.datasets[position]), int(self.indices[position]))


class SampleStream:
    """Mixes several datasets.

    Args:
        sizes: samples of each dataset.
        ratios: how often each dataset is drawn, relative to the others; None for equally often.
        seed: of the run, 0 or more.
        orders: of each dataset; None for one whose samples may come in any order, and in place of the list for all.

    Raises:
        ConfigError: no dataset, an empty dataset, a negative seed, or ratios that are negative, not finite, all zero or
            not one per dataset.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        ratios: Sequence[float] | None = None,
        seed: int = 0,
        orders: Sequence[ShardOrder | None] | None = None,
    ):
        self.sizes = [int(size) for size in sizes]
        self._orders = list(orders) if orders is not None else [None] * len(self.sizes)
        self.seed = _non_negative("seed", seed)
        if not self.sizes:
            raise ConfigError("no dataset is given; name at least one under datasets.")
        for number, size in enumerate(self.sizes):
            if size < 1:
                raise ConfigError(f"dataset {number} has {size} samples; give it samples or take it out of datasets.")
        self._borders = _cumulative_shares([1.0] * len(self.sizes) if ratios is None else ratios, len(self.sizes))

    def epoch(self, epoch: int, length: int | None = None) -> EpochStream:
        """The stream of one epoch.

        Args:
            epoch: number of the epoch, 0 or more.
            length: positions wanted. Each draws its dataset by ratio; each dataset is walked through in a fresh random
                order on every pass, so no sample comes twice before its dataset is exhausted. None: every sample of
                every dataset exactly once, in random order, whatever the ratios. A ShardOrder bounds that order.

        Raises:
            ConfigError: a length below 1 or a negative epoch.
        """
        epoch = _non_negative("epoch", epoch)
        if length is None:
            return self._one_pass(epoch)
        if length < 1:
            raise ConfigError(f"an epoch cannot have {length} samples; give at least 1, or None for one pass.")
        draws = _numpy_generator(self.seed, epoch, _DATASET_DRAW).random(length)
        datasets = np.searchsorted(self._borders, draws, side="right").astype(np.int32)
        indices = np.empty(length, dtype=np.int64)
        for dataset, size in enumerate(self.sizes):
            positions = np.flatnonzero(datasets == dataset)
            indices[positions] = self._walk(epoch, dataset, size, len(positions))
        return EpochStream(datasets, indices)

    def _walk(self, epoch: int, dataset: int, size: int, count: int) -> NDArray[Any]:
        """The first `count` indices of a dataset, int64: one permutation after the other, one per row of keys."""
        passes = math.ceil(count / size)
        order = self._orders[dataset]
        if order is not None:
            drawn = [
                order.one_pass(_numpy_generator(self.seed, epoch, _PERMUTATION, dataset, number))
                for number in range(passes)
            ]
            return np.concatenate([np.empty(0, dtype=np.int64), *drawn])[:count]
        keys = _numpy_generator(self.seed, epoch, _PERMUTATION, dataset).random((passes, size))
        return np.argsort(keys, axis=1, kind="stable").reshape(-1)[:count]

    def _one_pass(self, epoch: int) -> EpochStream:
        keys = _numpy_generator(self.seed, epoch, _ONE_PASS).random(sum(self.sizes))
        order = np.argsort(keys, kind="stable")
        ends = np.cumsum(self.sizes)
        datasets = np.searchsorted(ends, order, side="right").astype(np.int32)
        indices = order - (ends - self.sizes)[datasets]
        for dataset, size in enumerate(self.sizes):
            if self._orders[dataset] is not None:
                indices[datasets == dataset] = self._walk(epoch, dataset, size, size)
        return EpochStream(datasets, indices)


class RankBatches(Sampler[list[int]]):
    """The positions of one rank's micro-batches: a batch sampler for a DataLoader.

    Args:
        length, rank, world_size, batch_size: see `positions_of_rank`.
        start: the micro-batch to begin with, for a resumed epoch.

    Raises:
        ConfigError: see `positions_of_rank`; or `start` is outside of the epoch.
    """

    def __init__(self, length: int, rank: int, world_size: int, batch_size: int, start: int = 0):
        self._micro_batches = positions_of_rank(length, rank, world_size, batch_size)
        if not 0 <= start <= len(self._micro_batches):
            raise ConfigError(
                f"cannot start at micro-batch {start}; the epoch has {len(self._micro_batches)} per rank "
                f"({length} samples, {world_size} ranks, batch size {batch_size})."
            )
        self.start = start

    def __len__(self) -> int:
        """Number of micro-batches from `start` on."""
        return len(self._micro_batches) - self.start

    def __iter__(self) -> Iterator[list[int]]:
        return (self._micro_batches[number] for number in range(self.start, len(self._micro_batches)))


class RankPositions:
    """What `positions_of_rank` returns; nothing is stored."""

    def __init__(self, length: int, rank: int, world_size: int, batch_size: int):
        self._length = length
        self._offset = rank * batch_size
        self._stride = world_size * batch_size
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(self._length / self._stride)

    def __getitem__(self, number: int) -> list[int]:
        if not 0 <= number < len(self):
            raise IndexError(f"micro-batch {number} of {len(self)}")
        first = number * self._stride + self._offset
        whole = range(first, min(first + self._batch_size, self._length))
        # The dummy sample is the one that the first rank takes in this micro-batch: it always exists.
        return list(whole) or [self._length + number * self._stride]


def positions_of_rank(length: int, rank: int, world_size: int, batch_size: int) -> RankPositions:
    """One rank's micro-batches of the stream.

    Micro-batch m of rank r takes the positions from (m * world_size + r) * batch_size on. In optimizer step u all ranks
    together take the positions [u * G, (u + 1) * G) with the global batch G, so that equal G gives equal steps for any
    number of ranks. Every position is taken once. If `length` is not a multiple of world_size * batch_size, the last
    micro-batch is shorter; a rank for which nothing is left gets one of its positions plus `length`, a dummy sample:
    it keeps the ranks in step and does not count.

    Args:
        length: positions of the epoch.
        rank: of this process, from 0.
        world_size: number of processes.
        batch_size: samples of a micro-batch of one process.

    Returns:
        A sequence of lists of up to batch_size positions, in order; every rank gets the same number of lists.

    Raises:
        ConfigError: a number below 1, or a rank outside of the world.
    """
    for name, value in (("length", length), ("world_size", world_size), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1.")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank} of {world_size} processes; give 0 <= rank < world_size.")
    return RankPositions(length, rank, world_size, batch_size)


def sample_generator(seed: int, epoch: int, position: int) -> torch.Generator:
    """The generator of one sample: for frame sampling, crop, choice of an instruction.

    Raises:
        ConfigError: a negative number.
    """
    key = [_non_negative(name, value) for name, value in (("seed", seed), ("epoch", epoch), ("position", position))]
    state = np.random.SeedSequence([key[0], key[1], _SAMPLE, key[2]]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def _numpy_generator(*key: int) -> np.random.Generator:
    """A generator; use only its `random`, because numpy may change the other methods between versions."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _cumulative_shares(ratios: Sequence[float], count: int) -> NDArray[Any]:
    values = np.asarray([float(ratio) for ratio in ratios], dtype=np.float64)
    if len(values) != count:
        raise ConfigError(f"{len(values)} sample ratios for {count} datasets; give one for each dataset.")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ConfigError(f"sample ratios are {values.tolist()}; give finite numbers of 0 or more.")
    if not np.any(values > 0):
        raise ConfigError(f"sample ratios are {values.tolist()}; at least one has to be above 0.")
    borders = np.cumsum(values)
    return borders / borders[-1]


def _non_negative(name: str, value: int) -> int:
    if value < 0:
        raise ConfigError(f"{name} is {value}; give 0 or more.")
    return int(value)
