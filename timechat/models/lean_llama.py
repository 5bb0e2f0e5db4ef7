"""LLaMA's layers with as few operations as decoding needs: over packed tokens, with attention left to the caller.

A step of decoding reads every weight once, for a few tokens. In Hugging Face's forward pass most of its time goes into
bookkeeping, small kernels and, with LoRA, casts and copies. Here the same modules' weights are read by plain functions.
Nothing of the model is changed, so several threads may read it. Shapes: N tokens of any rows, D width, h heads, k heads
of keys and values, d width of a head, r rank.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm

from timechat.models import llama as lm
from timechat.models.few_rows import linear

# Number of a layer, its queries [M, h, d], keys and values [N, k, d] of N tokens -> [M, h, d].
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
Function = Callable[[Tensor], Tensor]


class LeanLlama:
    """A decoder, as decoding reads it; adapters count with the scaling that they have when this is made.

    Args:
        llama: in evaluation mode.
    """

    def __init__(self, llama: nn.Module):
        whole = lm.causal_lm(llama)
        model = whole.model
        self._embed, self._rotary = model.embed_tokens, model.rotary_emb
        self._norm, self._head = _norm(model.norm), projection(whole.lm_head)
        self._layers = [_Layer(layer) for layer in model.layers]
        self.num_layers = len(self._layers)

    @property
    def is_plain(self) -> bool:
        """Whether all is plain functions of weights: no module of another kind is called, and angles are known."""
        functions = [self._norm, self._head, *(f for layer in self._layers for f in layer.functions)]
        # Others change their frequencies with the length of what they see.
        steady = self._rotary.rope_type not in ("dynamic", "longrope")
        return steady and not any(isinstance(function, nn.Module) for function in functions)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [N] -> embeddings [N, D]."""
        return cast(Tensor, self._embed(ids))

    def logits(self, embeds: Tensor, positions: Tensor, attend: Attend, last: Tensor | None = None) -> Tensor:
        """Scores of the next token.

        Args:
            embeds: [N, D].
            positions: [N], of each token in its row.
            attend: the attention of each layer.
            last: [M], the tokens whose scores are wanted; in the last layer, only their queries attend. None: all.

        Returns:
            [M, V], in the decoder's precision.
        """
        cos, sin = self._angles(embeds, positions)
        x = embeds
        for number, layer in enumerate(self._layers):
            query, key, value = layer.heads(layer.first_norm(x), cos, sin)
            if last is not None and number == self.num_layers - 1:
                x, query = x[last], query[last]
            x = x + layer.out(attend(number, query, key, value).flatten(1))
            x = x + layer.mlp(layer.second_norm(x))
        return self._head(self._norm(x))

    def _angles(self, embeds: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [N, 1, d], the first half of sin negative: see `_rotated`."""
        cos, sin = self._rotary(embeds, positions[None])
        low, high = sin[0, :, None].chunk(2, dim=-1)
        return cos[0, :, None], torch.cat([-low, high], dim=-1)


class _Layer:
    """One layer's functions."""

    def __init__(self, layer: LlamaDecoderLayer):
        attention = layer.self_attn
        self._width = attention.head_dim
        self._query, self._key, self._value, self.out = (
            projection(getattr(attention, f"{name}_proj")) for name in "qkvo"
        )
        self.first_norm, self.second_norm = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self.mlp = _mlp(layer.mlp)
        self.functions = (
            self.first_norm, self._query, self._key, self._value, self.out, self.second_norm, self.mlp
        )  # fmt: skip

    def heads(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, D] -> queries, keys and values of the heads, with their positions."""
        query, key, value = (part(x).unflatten(-1, (-1, self._width)) for part in (self._query, self._key, self._value))
        return _rotated(query, cos, sin), _rotated(key, cos, sin), value


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE as Hugging Face has it: the halves of a head are the pairs' first and second parts."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def _mlp(mlp: nn.Module) -> Function:
    """Without the modules' own calls, which small layers spend much of their time on; other kinds are called."""
    if type(mlp) is not LlamaMLP:
        return mlp
    parts = [projection(layer) for layer in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)]
    if any(isinstance(part, nn.Module) for part in parts):
        return mlp
    gate, up, down = parts
    return lambda x: down(mlp.act_fn(gate(x)) * up(x))


def _norm(norm: nn.Module) -> Function:
    """One fused kernel for Hugging Face's norm, which takes six; others are called as they are."""
    if type(norm) is not LlamaRMSNorm:
        return norm
    return partial(F.rms_norm, normalized_shape=tuple(norm.weight.shape), weight=norm.weight, eps=norm.variance_epsilon)


def projection(layer: nn.Module) -> Function:
    """A linear layer, with what its LoRA adds.

    In fp32 one product with W + s B A serves for both, in a copy of the weight. In 16 bits that sum would lose what is
    less than half a step of W's precision, which is much of what LoRA learns; there, x is multiplied by both factors,
    of which small copies in W's precision hold A, and s B. Layers of other kinds, such as those in 8 bits, are called.
    """
    if type(layer) is nn.Linear:
        return partial(linear, weight=layer.weight, bias=layer.bias)
    if not isinstance(layer, LoraLayer):
        return layer
    base, factors = layer.get_base_layer(), _factors(layer)
    if factors is None or type(base) is not nn.Linear:
        return layer
    down, up = (factor.to(base.weight.dtype) for factor in factors)
    if base.weight.dtype == torch.float32:
        return partial(linear, weight=torch.addmm(base.weight, up, down), bias=base.bias)
    return lambda x: torch.addmm(F.linear(x, base.weight, base.bias), x @ down.T, up.T)


def _factors(layer: LoraLayer) -> tuple[Tensor, Tensor] | None:
    """A [r, D] and s B [D, r] of the active adapters together; None where peft does something else."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if not names or layer.merged or layer.disable_adapters or any(name in layer.lora_variant for name in names):
        return None
    down = torch.cat([cast(Tensor, layer.lora_A[name].weight) for name in names])
    up = torch.cat([layer.scaling[name] * cast(Tensor, layer.lora_B[name].weight) for name in names], dim=1)
    return down, up
