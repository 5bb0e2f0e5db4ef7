"""Positions of the stream -> batches: replacements, what was skipped, ragged packing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from timechat.datasets.collate import Fetched, StreamDataset, collate
from timechat.datasets.instruction import InstructionSample
from timechat.datasets.sampler import SampleRef, SampleStream
from timechat.errors import ConversationError, VideoError


class Numbers:
    """A dataset whose sample i is i; some cannot be read. A sample's frame shows its randomness."""

    def __init__(self, name: str, size: int, bad: Sequence[int] = ()):
        self.name, self.size, self.bad = name, size, set(bad)

    def __len__(self) -> int:
        return self.size

    def key(self, index: int) -> str:
        """As InstructionDataset's."""
        return f"{self.name}[{index}]"

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """One frame."""
        if index in self.bad:
            raise VideoError(f"{index}.mp4", "is empty")
        frames = torch.randint(0, 256, (1, 3, 1, 1), dtype=torch.uint8, generator=generator)
        return InstructionSample(frames, [0.0], [1, index], [-100, index], self.key(index))


def stream_of(datasets: Sequence[Numbers], seed: int = 0, epoch: int = 0) -> StreamDataset:
    """One pass over everything, in the stream's order."""
    stream = SampleStream([len(d) for d in datasets], None, seed).epoch(epoch)
    return StreamDataset(datasets, stream, seed, epoch)


def order(dataset: StreamDataset) -> list[int]:
    """The index at every position."""
    return [dataset.stream[i].index for i in range(len(dataset))]


def test_good_samples_come_by_position_and_randomness_by_seed_epoch_and_position() -> None:
    data = stream_of([Numbers("n", 8)])
    keys = [data[i].sample.key for i in range(8)]
    assert keys == [f"n[{index}]" for index in order(data)]
    shades = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        data = stream_of([Numbers("n", 8)], seed, epoch)
        shades |= {(seed, epoch, i): data[i].sample.frames.flatten().tolist() for i in range(8)}
    assert stream_of([Numbers("n", 8)], 1, 1)[3].sample.frames.flatten().tolist() == shades[1, 1, 3]
    assert len(set(map(tuple, shades.values()))) == 32


def test_an_unreadable_sample_is_replaced_by_the_next_and_recorded() -> None:
    good = stream_of([Numbers("n", 6)], epoch=2)
    first, second, third = order(good)[1:4]
    data = stream_of([Numbers("n", 6, bad=[first, second])], epoch=2)
    fetched = data[1]
    assert fetched.sample.input_ids == [1, third]
    assert fetched.skipped == [
        {"epoch": 2, "position": 1, "sample": f"n[{index}]", "error": f"{index}.mp4: is empty"}
        for index in (first, second)
    ]
    assert torch.equal(fetched.sample.frames, data[3].sample.frames)
    assert data[0].skipped == []


def test_replacements_go_round_at_the_end() -> None:
    last = order(stream_of([Numbers("n", 5)]))[-1]
    data = stream_of([Numbers("n", 5, bad=[last])])
    assert data[4].sample.key == data[0].sample.key


def test_replacements_cross_datasets() -> None:
    """The stream's next sample may be of another dataset."""
    datasets = [Numbers("bad", 1, bad=[0]), Numbers("good", 1)]
    data = stream_of(datasets)
    position = [data.stream[i] for i in range(2)].index(SampleRef(0, 0))
    assert data[position].sample.key == "good[0]"


@pytest.mark.parametrize(("size", "limit", "tried"), [(3, None, 3), (50, None, 50), (3, 20, 3), (50, 20, 20)])
def test_when_nothing_can_be_read_there_is_no_sample(size: int, limit: int | None, tried: int) -> None:
    """Each is tried once, not forever."""
    data = stream_of([Numbers("n", size, bad=range(size))])
    fetched = StreamDataset(data.datasets, data.stream, 0, 0, most_tried=limit)[0]
    assert fetched.sample is None
    assert len(fetched.skipped) == tried
    assert len({record["sample"] for record in fetched.skipped}) == tried


def test_any_number_of_unreadable_samples_in_a_row_is_passed_over() -> None:
    good = order(stream_of([Numbers("n", 60)]))[57]
    fetched = stream_of([Numbers("n", 60, bad=set(range(60)) - {good})])[3]
    assert fetched.sample is not None
    assert (fetched.sample.key, len(fetched.skipped)) == (f"n[{good}]", 54)


def test_errors_of_the_config_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """max_txt_len truncates the video tokens: every sample would be skipped."""

    def refuse(self: Numbers, index: int, generator: torch.Generator) -> InstructionSample:
        raise ConversationError("max_txt_len=3 truncates")

    monkeypatch.setattr(Numbers, "sample", refuse)
    with pytest.raises(ConversationError, match="max_txt_len=3"):
        stream_of([Numbers("n", 3)])[0]


# Collate --------------------------------------------------------------------------------------------------------------


def sample(frames: int, ids: list[int], seconds: list[float] | None, key: str) -> InstructionSample:
    """Frames that show which sample they are of."""
    return InstructionSample(
        torch.full((frames, 3, 2, 2), frames, dtype=torch.uint8), seconds, ids, [-100, *ids[1:]], key
    )


def test_frames_are_packed_and_conversations_padded() -> None:
    record = {"sample": "x"}
    rows = [sample(3, [1, 7, 2], [0.0, 0.5, 1.0], "a"), sample(1, [1, 2], None, "b")]
    batch = collate([Fetched(rows[0]), Fetched(rows[1], [record])])
    assert batch.frames[:, 0, 0, 0].tolist() == [3, 3, 3, 1]
    assert batch.frames.dtype == torch.uint8
    assert batch.frame_counts == [3, 1]
    assert batch.seconds == [[0.0, 0.5, 1.0], None]
    assert batch.input_ids.tolist() == [[1, 7, 2], [1, 2, 0]]
    assert batch.labels.tolist() == [[-100, 7, 2], [-100, 2, -100]]
    assert batch.attention_mask.sum(1).tolist() == [3, 2]
    assert (batch.keys, batch.skipped) == (["a", "b"], [record])


def test_a_missing_sample_makes_the_batch_shorter_and_its_record_stays() -> None:
    batch = collate([Fetched(None, [{"sample": "x"}]), Fetched(sample(2, [1, 5], None, "b"))])
    assert len(batch) == 1
    assert batch.keys == ["b"]
    assert batch.skipped == [{"sample": "x"}]


def test_a_batch_of_nothing_is_empty_and_moves_like_any_other() -> None:
    batch = collate([Fetched(None, [{"sample": "x"}]), Fetched(None, [{"sample": "y"}])]).to("cpu")
    assert len(batch) == batch.num_supervised == 0
    assert batch.frames.shape[0] == 0
    assert [record["sample"] for record in batch.skipped] == ["x", "y"]
