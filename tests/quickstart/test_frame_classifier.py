"""The frame encoder that learns words: its loss, what it learns, and that TimeChat takes the encoder from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import build_tiny, tiny_config

from quickstart.batch import FrameBatch
from quickstart.frame_classifier import FrameClassifier
from timechat.errors import ConfigError
from timechat.models.checkpoints import trainable_state_dict

BASE = (
    "model.arch=frame_classifier",
    "model.num_words=3",
    "model.freeze_vit=false",
    "model.vit.depth=1",
    "model.ckpt=",
)


def classifier(*options: str) -> FrameClassifier:
    """A tiny one, by default with random weights."""
    return FrameClassifier(tiny_config([*BASE, *options]).model)


def batch(counts: tuple[int, ...] = (1, 3)) -> FrameBatch:
    """Dark frames that the first word describes, and bright ones that the second describes, in turn."""
    total = sum(counts)
    bright = torch.arange(total) % 2
    frames = (40 + 170 * bright).byte()[:, None, None, None].expand(-1, 3, 56, 56).contiguous()
    return FrameBatch(frames, list(counts), [[0.0] * count for count in counts], F.one_hot(bright, 3).float())


def test_the_loss_sums_over_words_and_averages_over_frames() -> None:
    """By the formula of the binary cross-entropy; a video's own loss is the mean of its frames."""
    model, data = classifier().eval(), batch()
    with torch.no_grad():
        out, shares = model(data), torch.sigmoid(model.logits(data.frames))
    losses = -(data.words * shares.log() + (1 - data.words) * (1 - shares).log()).sum(dim=1)
    torch.testing.assert_close(out["loss"], losses.mean())
    torch.testing.assert_close(out["sample_losses"], torch.stack([losses[:1].mean(), losses[1:].mean()]))


def test_a_frame_counts_alone() -> None:
    model, data = classifier().eval(), batch()
    with torch.no_grad():
        torch.testing.assert_close(model.logits(data.frames)[2:3], model.logits(data.frames[2:3]))
        assert model.logits(data.frames).shape == (4, 3)


def test_it_learns_which_word_describes_a_frame() -> None:
    model, data = classifier("model.initialization=fan_in").train(), batch((4, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        model(data)["loss"].backward()
        optimizer.step()
    assert ((model.logits(data.frames) > 0) == data.words.bool()).all()
    assert all(p.grad is not None for p in model.parameters())


def test_timechat_takes_the_encoder_from_its_checkpoint(tmp_path: Path) -> None:
    model = classifier()
    torch.save({"model": trainable_state_dict(model)}, tmp_path / "words.pth")
    taken = build_tiny(["model.vit.depth=1", f"model.ckpt={tmp_path / 'words.pth'}"])
    for part in ("visual_encoder", "ln_vision"):
        for name, tensor in getattr(model, part).state_dict().items():
            assert torch.equal(tensor, getattr(taken, part).state_dict()[name]), name
    assert sorted(taken.load_reports[0].foreign) == ["head.bias", "head.weight"]


def test_it_takes_its_own_checkpoint(tmp_path: Path) -> None:
    first = classifier()
    torch.save({"model": trainable_state_dict(first)}, tmp_path / "words.pth")
    second = classifier(f"model.ckpt={tmp_path / 'words.pth'}")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_fan_in_reaches_the_encoder() -> None:
    weight = classifier("model.initialization=fan_in").visual_encoder.blocks[0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(88**-0.5, rel=0.05)


@pytest.mark.parametrize("option", ["model.freeze_vit=true", "model.vit_precision=bf16"])
def test_a_frozen_or_half_precise_encoder_cannot_learn(option: str) -> None:
    with pytest.raises(
        ConfigError, match="frame_classifier trains the ViT: set freeze_vit=false and vit_precision=fp32"
    ):
        classifier(option)
