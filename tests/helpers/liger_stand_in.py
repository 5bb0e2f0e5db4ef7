"""Liger on a machine without a GPU: what its 0.8 does to a LLaMA, with kernels that are PyTorch's, and counted."""

from __future__ import annotations

import sys
from collections import Counter
from types import MethodType, ModuleType
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.models.llama import modeling_llama


class LigerRMSNorm(nn.Module):
    """Put in transformers' place for models that come later."""


class LigerSwiGLUMLP(nn.Module):
    """The same."""


def install(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Make the stand-in importable for a test, and transformers whole again afterwards; the calls of each kernel."""
    calls: Counter[str] = Counter()
    for name in ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP"):
        monkeypatch.setattr(modeling_llama, name, getattr(modeling_llama, name))
    module = ModuleType("liger_kernel.transformers")
    module.apply_liger_kernel_to_llama = _applying(calls)
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module)
    return calls


def _applying(calls: Counter[str]) -> Any:
    def norm(self: nn.Module, x: Tensor) -> Tensor:
        calls["norm"] += 1
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)

    def swiglu(self: nn.Module, x: Tensor) -> Tensor:
        calls["swiglu"] += 1
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))

    def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        calls["rope"] += 1
        return tuple(torch.cat(_turned(x, cos[:, None], sin[:, None]), dim=-1) for x in (q, k))

    def apply(model: transformers.LlamaForCausalLM, **options: bool) -> None:
        expected = {"rope": True, "rms_norm": True, "swiglu": True}
        assert options == expected | {"cross_entropy": False, "fused_linear_cross_entropy": False}
        modeling_llama.apply_rotary_pos_emb = rope
        modeling_llama.LlamaRMSNorm, modeling_llama.LlamaMLP = LigerRMSNorm, LigerSwiGLUMLP
        assert isinstance(model, transformers.LlamaForCausalLM)
        norms = [model.model.norm]
        for layer in model.model.layers:
            norms += [layer.input_layernorm, layer.post_attention_layernorm]
            layer.mlp.forward = MethodType(swiglu, layer.mlp)
        for module in norms:
            module.forward = MethodType(norm, module)

    return apply


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of each head; only the first half of the angles is read, as Liger does."""
    half = x.shape[-1] // 2
    (a, b), cos, sin = x.split(half, dim=-1), cos[..., :half], sin[..., :half]
    return a * cos - b * sin, b * cos + a * sin
