"""The ragged batch and how many tokens a video becomes."""

from __future__ import annotations

import pickle

import pytest
import torch

from timechat.batch import VideoBatch, num_video_tokens, num_windows, pad_conversations


@pytest.mark.parametrize(
    ("frames", "stride", "window", "windows"),
    [(96, 32, 32, 3), (97, 32, 32, 4), (1, 32, 32, 1), (8, 4, 4, 2), (7, 4, 4, 2), (9, 2, 4, 5), (96, 32, 0, 1)],
)
def test_one_window_starts_at_every_stride(frames: int, stride: int, window: int, windows: int) -> None:
    assert num_windows(frames, stride, window) == windows
    assert num_video_tokens(frames, stride, 32, window) == 32 * windows


def make_batch() -> VideoBatch:
    """Two conversations of different length; the first label of a row is never predicted."""
    ids, labels, mask = pad_conversations([([1, 5, 6], [-100, 5, 6]), ([1, 7, 8, 9, 2], [1, -100, -100, 9, 2])], 0)
    frames = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    return VideoBatch(frames, [1, 2], [None, [0.0, 1.0]], ids, labels, mask, keys=["a", "b"])


def test_padding_stands_on_the_right() -> None:
    batch = make_batch()
    assert batch.input_ids.tolist() == [[1, 5, 6, 0, 0], [1, 7, 8, 9, 2]]
    assert batch.labels.tolist() == [[-100, 5, 6, -100, -100], [1, -100, -100, 9, 2]]
    assert batch.attention_mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert batch.attention_mask.dtype == torch.bool


def test_padding_with_an_id_that_also_is_a_word() -> None:
    """The mask comes from lengths, not from the pad id."""
    _, _, mask = pad_conversations([([1, 0, 0], [-100, 0, 0]), ([1], [-100])], 0)
    assert mask.tolist() == [[True, True, True], [True, False, False]]


def test_supervised_tokens_are_counted_from_the_second_place_on() -> None:
    """Nothing predicts the first token."""
    assert make_batch().num_supervised == 4


def test_length_is_the_number_of_videos() -> None:
    assert len(make_batch()) == 2


def test_to_moves_the_tensors_and_keeps_the_rest() -> None:
    batch = make_batch()
    moved = batch.to("meta")
    assert {t.device.type for t in (moved.frames, moved.input_ids, moved.labels, moved.attention_mask)} == {"meta"}
    assert (moved.frame_counts, moved.seconds, moved.keys) == ([1, 2], [None, [0.0, 1.0]], ["a", "b"])
    assert batch.frames.device.type == "cpu"


def test_batches_cross_process_borders() -> None:
    """Workers send them through pickle."""
    again = pickle.loads(pickle.dumps(make_batch()))
    assert torch.equal(again.labels, make_batch().labels)
