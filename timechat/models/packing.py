"""Attention of the decoder over rows of different lengths that follow each other in one sequence, without padding.

Shapes: N tokens of all rows, A heads, K key and value heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROWS = "timechat_rows"  # in transformers' table of attention functions


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row_lengths: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every row to itself alone; or transformers' own, if nothing is said about rows.

    A row needs no mask, so that PyTorch's fused kernels skip what lies after each token.

    Args:
        module: the attention layer.
        query: [1, A, N, E].
        key, value: [1, K, N, E].
        attention_mask: of transformers' attention; rows need none.
        row_lengths: tokens of each row; they add up to N.
        options: `scaling` and `dropout`, and what transformers' attention takes.

    Returns:
        [1, N, A, E], and no attention weights.
    """
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows = zip(*(part.split(list(row_lengths), dim=2) for part in (query, key, value)), strict=True)
    out = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            dropout_p=options.get("dropout", 0.0),
            is_causal=True,
            scale=options.get("scaling"),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for q, k, v in rows
    ]
    return torch.cat(out, dim=2).transpose(1, 2), None


def positions(row_lengths: Sequence[int], device: torch.device) -> Tensor:
    """Position of each token in its own row, [N]."""
    return torch.cat([torch.arange(length, device=device) for length in row_lengths])


AttentionInterface.register(ROWS, attend)
AttentionMaskInterface.register(ROWS, sdpa_mask)  # for what comes without rows: answers
