"""The frame encoder: EVA ViT-g as BLIP-2 uses it (arXiv 2211.07636), that is, without its last block and final norm.

timm's `Eva` has the published parameter names. Shapes: F frames, P = (image_size / 14)^2 + 1 tokens, E width.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import timm
import torch
from timm.models.eva import Eva
from torch import Tensor, nn

from timechat.errors import ConfigError
from timechat.models.recomputing import recompute

PATCH_SIZE = 14
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)

_MLP_RATIO = 4.3637


def build_eva_vit(
    *,
    image_size: int = 224,
    embed_dim: int = 1408,
    depth: int = 39,
    num_heads: int = 16,
    drop_path_rate: float = 0.0,
    grad_checkpointing: bool | int = False,
) -> Eva:
    """Build the encoder with random weights; the defaults are EVA ViT-g's sizes.

    Args:
        depth: number of blocks that are kept: 39 of the published 40.
        grad_checkpointing: how many blocks, beginning with the first, recompute their activations; True: all.

    Raises:
        ConfigError: the image is not a whole number of patches, or the width not a multiple of the heads.
    """
    if image_size % PATCH_SIZE:
        raise ConfigError(f"model.image_size={image_size}: must be a multiple of the patch size {PATCH_SIZE}")
    if embed_dim % num_heads:
        raise ConfigError(f"model.vit: embed_dim={embed_dim} is not a multiple of num_heads={num_heads}")
    created = timm.create_model(
        "eva_giant_patch14_224",
        pretrained=False,
        img_size=image_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=_MLP_RATIO,
        drop_path_rate=drop_path_rate,
        num_classes=0,
    )
    vit = cast(Eva, created)
    # The head's norm and any final norm belong to the classifier that BLIP-2 drops; ln_vision replaces them.
    vit.norm = nn.Identity()
    vit.fc_norm = nn.Identity()
    recompute(vit.blocks, grad_checkpointing)
    return vit


def normalise_pixels(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 [F, 3, H, W] -> normalised [F, 3, H, W]; floats are taken as normalised already."""
    if frames.dtype != torch.uint8:
        return frames.to(dtype)
    pixels = frames.float()
    # Channel by channel with Python's numbers: a tensor of them would be copied to the GPU, which waits for it.
    for channel, mean, std in zip(pixels.unbind(dim=1), PIXEL_MEAN, PIXEL_STD, strict=True):
        channel.div_(255).sub_(mean).div_(std)
    return pixels.to(dtype)


def widest_activation(vit: Eva) -> int:
    """Bytes of a frame's widest activation, inside a block's feed-forward layers."""
    tokens = vit.patch_embed.num_patches + vit.num_prefix_tokens
    return tokens * int(_MLP_RATIO * vit.embed_dim) * vit.patch_embed.proj.weight.element_size()


def encode_pixels(vit: Eva, frames: Tensor) -> Tensor:
    """Frames [F, 3, H, W], uint8 or normalised floats -> tokens [F, P, E], in the encoder's precision."""
    weight = vit.patch_embed.proj.weight
    # A frozen encoder computes in its half precision; autocast might mix in another one.
    own_precision = weight.dtype != torch.float32
    autocast = torch.autocast(weight.device.type, enabled=False) if own_precision else nullcontext()
    with autocast:
        return vit.forward_features(normalise_pixels(frames, weight.dtype))
