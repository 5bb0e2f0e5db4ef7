"""Sliding windows against a plain loop over windows, one call each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from timechat.batch import num_video_tokens
from timechat.models.qformer import QFormer, QFormerConfig
from timechat.models.video_qformer import encode_windows, window_slices

WIDTH, QUERIES = 8, 3


def windows_by_hand(num_frames: int, window: int, stride: int) -> list[list[int]]:
    """Frame numbers of each window, as the paper describes them."""
    if window == 0:
        return [list(range(num_frames))]
    found, start = [], 0
    while start < num_frames:
        found.append([i for i in range(start, start + window) if i < num_frames])
        start += stride
    return found


@pytest.fixture(scope="module")
def qformer() -> QFormer:
    """A video Q-Former with visible weights."""
    torch.manual_seed(1)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    model = QFormer(QFormerConfig(**sizes, encoder_width=WIDTH, cross_attention_frequency=1, text_input=False)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


@given(st.integers(1, 40), st.integers(0, 12), st.integers(1, 12))
@settings(max_examples=200)
def test_slices_are_the_windows_and_their_number_is_the_number_of_tokens(frames: int, window: int, stride: int) -> None:
    slices = window_slices(frames, window, stride)
    assert [list(range(frames))[s] for s in slices] == windows_by_hand(frames, window, stride)
    assert num_video_tokens(frames, stride, QUERIES, window) == QUERIES * len(slices)


@torch.no_grad()
@pytest.mark.parametrize(("window", "stride"), [(4, 4), (0, 4), (0, 0), (4, 2), (5, 3), (2, 3), (32, 32)])
def test_a_ragged_batch_equals_windows_one_by_one(qformer: QFormer, window: int, stride: int) -> None:
    """Videos of 1, 7 and 9 frames with different numbers of tokens a frame."""
    queries = torch.randn(1, QUERIES, WIDTH)
    videos = [torch.randn(t, m, WIDTH) for t, m in ((7, 3), (1, 2), (9, 5))]
    out = encode_windows(qformer, queries, videos, window_size=window, stride=stride)
    for video, tokens in zip(videos, out, strict=True):
        alone = [
            qformer(queries, video[its].flatten(0, 1)[None])[0] for its in windows_by_hand(len(video), window, stride)
        ]
        assert_close(tokens, torch.cat(alone), rtol=0, atol=1e-5)
