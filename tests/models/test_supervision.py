"""What a batch asks of the decoder, found out without the device."""

from __future__ import annotations

from dataclasses import replace

import torch
from helpers.tiny import Golden, golden_batch

from timechat.models import TimeChat
from timechat.models.supervision import Supervision
from timechat.text.conversation import IGNORE_INDEX


def test_each_learned_token_has_its_place_target_and_row(golden: Golden, tiny_model: TimeChat) -> None:
    """Beside a loop over the conversations; the last token is read by nothing."""
    batch, video = golden_batch(golden, tiny_model.tokenizer), tiny_model.tokenizer.image_token_id
    found, expected, before = Supervision.of(batch, video), [], 0
    for row, (labels, mask) in enumerate(zip(batch.labels.tolist(), batch.attention_mask.tolist(), strict=True)):
        length = sum(mask) - 1
        following = labels[1 : length + 1]
        expected += [(before + place, label, row) for place, label in enumerate(following) if label != IGNORE_INDEX]
        before += length
    assert list(zip(found.index.tolist(), found.targets.tolist(), found.rows.tolist(), strict=True)) == expected
    assert found.counts.tolist() == [sum(row == number for *_, row in expected) for number in range(2)]
    assert found.lengths == (batch.attention_mask.sum(dim=1) - 1).tolist()
    assert found.places == [18, 18]


def test_nothing_is_read_from_the_device(golden: Golden, tiny_model: TimeChat) -> None:
    """A tensor on the device `meta` has no numbers at all. What is found is there, for the next operations."""
    batch, video = golden_batch(golden, tiny_model.tokenizer), tiny_model.tokenizer.image_token_id
    here, there = Supervision.of(batch, video), Supervision.of(batch.to("meta"), video)
    assert (there.lengths, there.places) == (here.lengths, here.places)
    for name in ("index", "targets", "rows", "counts"):
        assert getattr(there, name).device == torch.device("meta")
        assert getattr(there, name).shape == getattr(here, name).shape


def test_a_batch_that_moves_again_is_still_read_on_the_host(golden: Golden, tiny_model: TimeChat) -> None:
    batch = golden_batch(golden, tiny_model.tokenizer)
    moved = replace(batch, keys=["a", "b"]).to("meta").to("meta")
    assert torch.equal(moved.on_host.labels, batch.labels)
    assert moved.on_host.frames.numel() == 0, "frames are large, and nobody reads them there"
    assert moved.keys == ["a", "b"]
