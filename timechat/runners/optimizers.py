"""AdamW with the published parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from timechat.errors import ConfigError
from timechat.models.checkpoints import canonical_name

_FUSED = ("cpu", "cuda")  # kinds of devices


def parameter_groups(model: nn.Module, weight_decay: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Trainable parameters in two groups: with weight decay, and without (biases, norms, everything 1-d).

    Returns:
        The groups for an optimizer, without empty ones (DeepSpeed drops those, and saves what is left), and the
        published names of all parameters in the optimizer's order.

    Raises:
        ConfigError: nothing is trainable, or not in fp32.
    """
    named = [(canonical_name(name), p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ConfigError("model: every part is frozen, there is nothing to train; see the freeze_* and frozen_* keys")
    half = [(name, p.dtype) for name, p in named if p.dtype.itemsize < torch.float32.itemsize]
    if half:
        raise ConfigError(
            f"model: {len(half)} of the parameters that learn are not fp32, such as {half[0][0]} ({half[0][1]}), and "
            "would lose most of each small step: build them in fp32 (run.precision is that of the computation alone)"
        )
    decayed = [(name, p) for name, p in named if p.ndim >= 2 and not name.endswith("bias")]
    names = {name for name, _ in decayed}
    plain = [(name, p) for name, p in named if name not in names]
    groups = [
        {"params": [p for _, p in decayed], "weight_decay": weight_decay},
        {"params": [p for _, p in plain], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]], [name for name, _ in decayed + plain]


def build_optimizer(
    model: nn.Module, *, lr: float, weight_decay: float, beta2: float, device: torch.device
) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW over the trainable parameters, and their names in its order.

    One kernel updates all parameters of a device that will hold them, where torch has such a kernel.

    Raises:
        ConfigError: nothing is trainable, or not in fp32.
    """
    groups, names = parameter_groups(model, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2), fused=device.type in _FUSED), names
