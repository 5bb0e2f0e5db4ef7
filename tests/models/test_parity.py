"""The tiny model against numbers that the published code computed on the same weights."""

from __future__ import annotations

import pytest
import torch
from helpers import parity
from helpers.parity import CLOSE
from helpers.tiny import Golden, build_tiny, golden_batch
from torch.testing import assert_close

from timechat.models import TimeChat
from timechat.text.timestamps import frame_sentence


def test_vit_and_its_norm(golden: Golden, tiny_model: TimeChat) -> None:
    parity.check_vit(golden, tiny_model)


@pytest.mark.parametrize("suffix", ["", "_short"])
def test_video_embeds(golden: Golden, tiny_model: TimeChat, suffix: str) -> None:
    """Two videos of three windows (4, 4 and 2 frames), and one whose last window is short."""
    parity.check_video_embeds(golden, tiny_model, suffix)


def test_sentences_of_two_lengths_in_one_batch_equal_each_video_alone(golden: Golden, tiny_model: TimeChat) -> None:
    """Padding that only the batch adds (12 and 15 ids) changes nothing."""
    parity.check_video_embeds(golden, tiny_model, "_two_lengths")


def test_timestamp_ids(golden: Golden, tiny_model: TimeChat) -> None:
    sentences = [frame_sentence(t) for video in golden.expected["timestamps"] for t in video]
    rows = [tiny_model.timestamp_tokenizer.encode(s) for s in sentences]
    masked = zip(golden.tensors["q_input_ids"], golden.tensors["q_attention_mask"], strict=True)
    assert rows == [ids[mask.bool()].tolist() for ids, mask in masked]


def test_batch_ids_and_labels(golden: Golden, tiny_model: TimeChat) -> None:
    parity.check_batch(golden, tiny_model)


def test_loss_and_gradients_of_every_trainable_parameter(golden: Golden) -> None:
    model = build_tiny()
    parity.check_loss(golden, model)
    parity.check_gradients(golden, model)
    model(golden_batch(golden, model.tokenizer))["loss"].backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_gradients_of_sentences_of_different_lengths(golden: Golden, tiny_model: TimeChat) -> None:
    """Also the row of the padding learns."""
    parity.check_word_gradients(golden, tiny_model)


@torch.no_grad()
def test_sample_losses_are_token_means_that_make_up_the_loss(golden: Golden, tiny_model: TimeChat) -> None:
    batch = golden_batch(golden, tiny_model.tokenizer)
    out = tiny_model(batch)
    counts = (batch.labels[:, 1:] != -100).sum(1)
    assert len(set(counts.tolist())) == 2  # equal counts would hide a wrong weighting
    assert_close((out["sample_losses"] * counts).sum() / counts.sum(), out["loss"], **CLOSE)
    assert not torch.isclose(out["sample_losses"].mean(), out["loss"], atol=1e-4)


def test_context_embeds_and_next_logits(golden: Golden, tiny_model: TimeChat) -> None:
    """The left-padded input of generation, and the scores of the first new token."""
    parity.check_next_logits(golden, tiny_model)


def test_greedy_text(golden: Golden, tiny_model: TimeChat) -> None:
    parity.check_greedy_text(golden, tiny_model)
