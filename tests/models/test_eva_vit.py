"""The frame encoder: what is dropped, how pixels are normalised."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from timechat.errors import ConfigError
from timechat.models.eva_vit import build_eva_vit, encode_pixels, normalise_pixels

SIZES = {"image_size": 28, "embed_dim": 32, "depth": 2, "num_heads": 2}


def test_uint8_frames_are_normalised_once() -> None:
    """(x / 255 - mean) / std of each channel, written out for one pixel."""
    frames = torch.tensor([0, 100, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [
        (0 / 255 - 0.48145466) / 0.26862954,
        (100 / 255 - 0.4578275) / 0.26130258,
        (255 / 255 - 0.40821073) / 0.27577711,
    ]
    assert_close(normalise_pixels(frames, torch.float32).flatten(), torch.tensor(expected), rtol=0, atol=1e-6)


def test_float_frames_are_taken_as_normalised() -> None:
    frames = torch.randn(2, 3, 4, 4)
    assert torch.equal(normalise_pixels(frames, torch.float32), frames)


def test_uint8_and_normalised_frames_give_the_same_tokens() -> None:
    vit = build_eva_vit(**SIZES).eval()
    frames = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    with torch.no_grad():
        tokens = encode_pixels(vit, frames)
        assert_close(tokens, encode_pixels(vit, normalise_pixels(frames, torch.float32)))
    assert tokens.shape == (2, 1 + 2 * 2, 32)


def test_half_precision_reaches_the_pixels() -> None:
    vit = build_eva_vit(**SIZES).to(torch.bfloat16).eval()
    with torch.no_grad():
        out = encode_pixels(vit, torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    assert out.dtype == torch.bfloat16


def test_no_norm_and_no_head_are_left() -> None:
    """BLIP-2 reads the tokens in front of the last block and its norm."""
    names = {name.split(".")[0] for name, _ in build_eva_vit(**SIZES).named_parameters()}
    assert names == {"cls_token", "pos_embed", "patch_embed", "blocks"}


@pytest.mark.parametrize(
    ("sizes", "field"),
    [({"image_size": 30}, "model.image_size=30"), ({"num_heads": 3}, "embed_dim=32 is not a multiple of num_heads=3")],
)
def test_sizes_that_do_not_divide(sizes: dict[str, int], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        build_eva_vit(**(SIZES | sizes))


@pytest.mark.parametrize("blocks", [True, 1])
def test_grad_checkpointing_changes_no_number(blocks: bool | int) -> None:
    """Same gradients with and without; so many blocks keep nothing but their inputs."""
    plain = build_eva_vit(**SIZES).train()
    again = build_eva_vit(**SIZES, grad_checkpointing=blocks).train()
    again.load_state_dict(plain.state_dict())
    frames = torch.randn(2, 3, 28, 28)
    kept: list[list[Tensor]] = [[], []]
    for vit, tensors in zip((plain, again), kept, strict=True):
        with torch.autograd.graph.saved_tensors_hooks(lambda t, into=tensors: (into.append(t), t)[1], lambda t: t):
            tokens = encode_pixels(vit, frames)
        tokens.square().sum().backward()
    depth = len(plain.blocks)
    recomputed = depth if blocks is True else blocks
    assert len(kept[1]) < len(kept[0]) * (1 - 0.7 * recomputed / depth)
    assert_close(again.pos_embed.grad, plain.pos_embed.grad)
    assert plain.pos_embed.grad.norm() > 0
