"""`run.liger`: Liger's fused kernels for LLaMA's RMSNorm, SwiGLU and RoPE, while it trains on CUDA GPUs.

Weights stay as they are. What Liger 0.8 does, by its source: each RMSNorm and MLP gets another `forward` of its own and
keeps its class, its parameters and their names; RoPE is a function that transformers calls by its name, so it changes
for the whole process. Linear layers, and with them LoRA, stay as they are, and so does attention, which keeps packed
rows apart. Layers are patched inside, so checkpointing computes the same again. `LeanLlama` reads weights and calls
none of these modules: answers do without the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.models.llama import modeling_llama

from timechat.errors import ConfigError
from timechat.models import llama as lm

_ACTIVATIONS = ("silu", "swish")  # the one that Liger's SwiGLU computes, whatever the config says
_CLASSES = ("LlamaRMSNorm", "LlamaMLP")


def check_liger(device: torch.device) -> None:
    """See whether the kernels can run. Raises ConfigError: they need a GPU, or Liger is not there."""
    if device.type != "cuda":
        raise ConfigError(
            f"run.liger=true: Liger's kernels need a CUDA GPU, and this run computes on the {device.type.upper()}; set "
            "run.liger=false"
        )
    _apply()


def use_liger(llama: nn.Module) -> None:
    """Replace what Liger has kernels for, in place.

    Args:
        llama: a decoder, with LoRA or without.

    Raises:
        ConfigError: its MLP has another activation, or Liger is not there.
    """
    decoder, apply = lm.causal_lm(llama), _apply()
    activation = decoder.config.hidden_act
    if activation not in _ACTIVATIONS:
        raise ConfigError(
            f"run.liger=true: Liger's kernels compute {_ACTIVATIONS[0]}, but the config.json of model.llama_model has "
            f"hidden_act={activation!r}; set run.liger=false"
        )
    with _classes_kept():
        apply(
            model=decoder, rope=True, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False
        )


def _apply() -> Callable[..., None]:
    """Liger's function. Raises ConfigError: it cannot be imported."""
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_llama
    except ImportError as error:
        raise ConfigError(
            f"run.liger=true needs Liger ({error}): pip install 'timechat[liger]', or set run.liger=false"
        ) from error
    return apply_liger_kernel_to_llama


@contextmanager
def _classes_kept() -> Iterator[None]:
    """Leave transformers' classes as they are: Liger puts its own there, for models that are built later."""
    before = {name: getattr(modeling_llama, name) for name in _CLASSES}
    try:
        yield
    finally:
        for name, kind in before.items():
            setattr(modeling_llama, name, kind)
