"""The sample stream: mixture, permutations, purity, and its division among ranks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from timechat.datasets.sampler import (
    RankBatches,
    SampleRef,
    SampleStream,
    ShardOrder,
    positions_of_rank,
    sample_generator,
)
from timechat.errors import ConfigError


def _refs(stream) -> list[SampleRef]:
    return [stream[position] for position in range(len(stream))]


def test_ratios_are_respected():
    epoch = SampleStream([50, 500, 5000, 9], [1, 2, 0.5, 0], seed=3).epoch(0, 70_000)
    shares = np.bincount(epoch.datasets, minlength=4) / len(epoch)
    assert np.abs(shares - np.array([2, 4, 1, 0]) / 7).max() < 0.01
    assert shares[3] == 0


def test_datasets_are_drawn_equally_often_by_default():
    epoch = SampleStream([3, 3000], seed=3).epoch(0, 20_000)
    assert abs(np.mean(epoch.datasets) - 0.5) < 0.02


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 9)
)
def test_no_sample_repeats_before_its_dataset_is_exhausted(sizes, length, seed, epoch):
    stream = SampleStream(sizes, seed=seed).epoch(epoch, length)
    assert len(stream) == length
    for dataset, size in enumerate(sizes):
        walk = stream.indices[stream.datasets == dataset]
        for begin in range(0, len(walk), size):
            one_pass = walk[begin : begin + size].tolist()
            assert len(set(one_pass)) == len(one_pass)
            assert set(one_pass) <= set(range(size))


def test_every_pass_and_epoch_has_an_order_of_its_own():
    stream = SampleStream([100], seed=1)
    passes = stream.epoch(0, 300).indices.reshape(3, 100)
    orders = [*passes.tolist(), stream.epoch(1, 100).indices.tolist(), list(range(100))]
    assert len({tuple(order) for order in orders}) == 5
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_datasets_of_equal_size_have_different_orders():
    epoch = SampleStream([50, 50], seed=1).epoch(0, 400)
    first, second = (epoch.indices[epoch.datasets == dataset][:50].tolist() for dataset in (0, 1))
    assert first != second


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 5))
def test_one_pass_takes_every_sample_once(sizes, seed, epoch):
    refs = _refs(SampleStream(sizes, seed=seed).epoch(epoch))
    wanted = {SampleRef(dataset, index) for dataset, size in enumerate(sizes) for index in range(size)}
    assert len(refs) == len(wanted)
    assert set(refs) == wanted


def test_one_pass_is_shuffled_over_all_datasets():
    refs = _refs(SampleStream([100, 100], [1, 0], seed=0).epoch(0))
    assert 30 < sum(ref.dataset for ref in refs[:100]) < 70
    assert refs != _refs(SampleStream([100, 100], [1, 0], seed=0).epoch(1))


def test_the_stream_is_pure():
    """Equal arguments give equal streams, whatever was drawn before, and each argument matters."""
    reference = _refs(SampleStream([20, 30], [1, 3], seed=5).epoch(2, 200))
    np.random.seed(0)
    stream = SampleStream([20, 30], [1, 3], seed=5)
    stream.epoch(0, 17)
    assert _refs(stream.epoch(2, 200)) == reference
    assert _refs(stream.epoch(1, 200)) != reference
    assert _refs(SampleStream([20, 30], [1, 3], seed=6).epoch(2, 200)) != reference
    assert _refs(stream.epoch(2, 50)) == reference[:50]


def test_the_stream_is_the_same_on_every_platform():
    """Written down once: a change here makes every resumed run read other samples."""
    epoch = SampleStream([5, 7], [1, 2], seed=42).epoch(1, 12)
    assert epoch.datasets.tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    assert epoch.indices.tolist() == [4, 3, 6, 2, 1, 5, 0, 3, 3, 4, 1, 5]
    assert torch.randint(1000, (3,), generator=sample_generator(42, 1, 7)).tolist() == [580, 378, 898]


def test_published_size_is_built_at_once_and_small():
    epoch = SampleStream([125_000, 72_000, 1], seed=0).epoch(0, 176_000)
    assert epoch.datasets.dtype == np.int32
    assert epoch.indices.dtype == np.int64


@pytest.mark.parametrize("position", [-1, 10])
def test_positions_outside_of_the_epoch(position):
    with pytest.raises(IndexError):
        SampleStream([10]).epoch(0, 10)[position]


@pytest.mark.parametrize(
    ("sizes", "ratios", "seed"),
    [
        ([], None, 0),
        ([5, 0], None, 0),
        ([5, 5], [1, -1], 0),
        ([5, 5], [0, 0], 0),
        ([5, 5], [1], 0),
        ([5], [1, 1], 0),
        ([5], [float("nan")], 0),
        ([5], [float("inf")], 0),
        ([5], None, -1),
    ],
)
def test_mixtures_that_cannot_be(sizes, ratios, seed):
    with pytest.raises(ConfigError):
        SampleStream(sizes, ratios, seed)


@pytest.mark.parametrize(("epoch", "length"), [(0, 0), (0, -3), (-1, 5), (-1, None)])
def test_epochs_that_cannot_be(epoch, length):
    with pytest.raises(ConfigError):
        SampleStream([5]).epoch(epoch, length)


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 8), (2, 4), (4, 2), (8, 1), (2, 2), (1, 1)])
def test_the_union_of_a_step_does_not_depend_on_the_world_size(world_size, batch_size):
    """Global batch 8: a step is 8 consecutive positions, however they fall on ranks and micro-batches."""
    accumulate = 8 // (world_size * batch_size)
    ranks = [positions_of_rank(40, rank, world_size, batch_size) for rank in range(world_size)]
    for step in range(5):
        micro_batches = range(step * accumulate, (step + 1) * accumulate)
        taken = [position for number in micro_batches for rank in ranks for position in rank[number]]
        assert taken == list(range(step * 8, step * 8 + 8))


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 5))
def test_every_position_is_taken_once_and_ranks_stay_in_step(length, world_size, batch_size):
    """A rank for which nothing is left gets a dummy sample: the first position of the micro-batch, plus the length."""
    ranks = [list(positions_of_rank(length, rank, world_size, batch_size)) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    taken = []
    for step in zip(*ranks, strict=True):
        assert all(1 <= len(micro_batch) <= batch_size for micro_batch in step)
        for micro_batch in step:
            if micro_batch[0] >= length:
                assert micro_batch == [step[0][0] + length]
            else:
                taken += micro_batch
    assert taken == list(range(length))


def test_rank_batches_begin_where_a_run_stopped():
    whole = list(RankBatches(50, rank=1, world_size=2, batch_size=4))
    rest = RankBatches(50, rank=1, world_size=2, batch_size=4, start=3)
    assert len(whole) == len(RankBatches(50, 1, 2, 4)) == 7
    assert list(rest) == whole[3:]
    assert len(rest) == 4
    assert list(rest) == whole[3:]  # a second iteration starts again
    assert list(RankBatches(50, 1, 2, 4, start=7)) == []


def test_rank_batches_drive_a_data_loader():
    loader = DataLoader(range(100, 112), batch_sampler=RankBatches(12, 1, 2, 3), collate_fn=list)
    assert list(loader) == [[103, 104, 105], [109, 110, 111]]


@pytest.mark.parametrize(
    ("length", "rank", "world_size", "batch_size"),
    [(0, 0, 1, 1), (5, 1, 1, 1), (5, -1, 2, 1), (5, 0, 0, 1), (5, 0, 1, 0)],
)
def test_cuts_that_cannot_be(length, rank, world_size, batch_size):
    with pytest.raises(ConfigError):
        positions_of_rank(length, rank, world_size, batch_size)


@pytest.mark.parametrize("start", [-1, 6])
def test_starts_outside_of_the_epoch(start):
    with pytest.raises(ConfigError, match="the epoch has 5"):
        RankBatches(5, 0, 1, 1, start=start)


def test_sample_randomness_is_keyed_on_seed_epoch_and_position():
    keys = [(seed, epoch, position) for seed in (0, 1, 2**33) for epoch in (0, 1) for position in range(20)]
    draws = {tuple(torch.rand(2, generator=sample_generator(*key)).tolist()) for key in keys}
    assert len(draws) == len(keys)
    torch.manual_seed(7)
    again = [torch.rand(2, generator=sample_generator(1, 1, 3)).tolist() for _ in range(2)]
    assert again[0] == again[1]
    with pytest.raises(ConfigError, match="position"):
        sample_generator(0, 0, -1)


# Shards ---------------------------------------------------------------------------------------------------------------


def shard_stream(buffer: int, sizes: tuple[int, ...] = (40, 7, 53, 100), seed: int = 1, **others: Any) -> SampleStream:
    """A stream of one dataset in shards, or of that and one of single files."""
    more = others.get("more", [])
    return SampleStream(
        [sum(sizes), *more], others.get("ratios"), seed, [ShardOrder(np.array(sizes), buffer), *(None for _ in more)]
    )


def shards_in(indices: list[int], sizes: tuple[int, ...] = (40, 7, 53, 100)) -> list[int]:
    return np.searchsorted(np.cumsum(sizes), indices, side="right").tolist()


def test_without_a_buffer_shards_are_read_in_one_go() -> None:
    indices = [ref.index for ref in _refs(shard_stream(0).epoch(0))]
    assert sorted(indices) == list(range(200))
    runs = [(shard, len(list(group))) for shard, group in itertools.groupby(shards_in(indices))]
    assert sorted(runs) == [(0, 40), (1, 7), (2, 53), (3, 100)]
    assert runs != sorted(runs)
    starts = {0, 40, 47, 100}
    assert sum(b != a + 1 for a, b in itertools.pairwise(indices)) == sum(i in starts for i in indices[1:]) == 3


@pytest.mark.parametrize("buffer", [1, 20, 1000])
def test_a_sample_comes_near_its_place_in_the_shards(buffer: int) -> None:
    """At most `buffer` places before or behind it, and up to half of that in fact; each sample once."""
    generator = np.random.default_rng(0)
    order = ShardOrder(np.array([500] * 8), buffer)
    indices = order.one_pass(generator)
    assert sorted(indices.tolist()) == list(range(4000))
    shards = np.argsort(np.random.default_rng(0).random(8), kind="stable")
    home = np.empty(4000, dtype=int)
    home[np.concatenate([np.arange(500 * shard, 500 * shard + 500) for shard in shards])] = np.arange(4000)
    moved = np.arange(4000) - home[indices]
    assert np.abs(moved).max() <= buffer
    if buffer > 1:
        assert np.abs(moved).max() > 0.4 * buffer
        assert abs(moved[1000:3000].mean()) < 0.1 * buffer


def test_every_pass_over_shards_is_another_one_and_whole() -> None:
    indices = [ref.index for ref in _refs(shard_stream(20).epoch(0, 450))]
    first, second, rest = indices[:200], indices[200:400], indices[400:]
    assert sorted(first) == sorted(second) == list(range(200))
    assert first != second
    assert len(set(rest)) == 50
    others = [_refs(shard_stream(20, seed=seed).epoch(epoch, 450)) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert [ref.index for ref in others[0]] == indices
    assert others[0] != others[1]
    assert others[0] != others[2]


@pytest.mark.parametrize("length", [None, 500])
def test_shards_beside_single_files(length: int | None) -> None:
    """What is drawn from which dataset, and the order of single files, is as without shards."""
    mixed = _refs(shard_stream(20, more=[100]).epoch(3, length))
    plain = _refs(SampleStream([200, 100], seed=1).epoch(3, length))
    assert [ref.dataset for ref in mixed] == [ref.dataset for ref in plain]
    assert [ref for ref in mixed if ref.dataset == 1] == [ref for ref in plain if ref.dataset == 1]
    assert {ref.index for ref in mixed if ref.dataset == 0} == set(range(200))
    alone = [ref.index for ref in _refs(shard_stream(20).epoch(3, 200))]
    assert [ref.index for ref in mixed if ref.dataset == 0][:200] == alone


def test_shards_that_are_not_drawn_from() -> None:
    refs = _refs(shard_stream(20, more=[100], ratios=[0, 1]).epoch(0, 50))
    assert {ref.dataset for ref in refs} == {1}
