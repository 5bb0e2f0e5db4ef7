"""Whether a decoder computes the same numbers after its operations were replaced, to the precision of its type."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from timechat.models import llama as lm

SPREAD = 0.02  # standard deviation of random embeddings, as of random weights
SLACK = 2.0  # how much farther from fp32 the replaced operations may be than the plain ones: both only round
ROUNDING = 1e-5  # of the largest number, where the plain ones are fp32 themselves


def agreement(llama: nn.Module, lengths: Sequence[int], replace: Callable[[], None]) -> dict[str, float | bool]:
    """Compare logits, and the gradient of the embeddings, before and after, and each with the plain ones in fp32.

    Args:
        llama: a decoder with plain operations, in its precision; autocast is on if that has 16 bits, as in training.
        lengths: tokens of each row; the rows are computed as one sequence.
        replace: replaces its operations.

    Returns:
        Of the logits and of the gradient: the largest number in fp32, the largest difference of replaced and plain, and
        the largest error of each against fp32. "agrees": no error is beyond twice that of the plain operations.
    """
    llama.eval()
    rows = _rows(llama, lengths)
    reference = copy.deepcopy(llama).float()
    exact = _computed(reference, [row.float() for row in rows])
    del reference
    plain = _computed(llama, rows)
    replace()
    replaced = _computed(llama, rows)
    found: dict[str, float | bool] = {"agrees": True}
    for part, true, before, after in zip(("logits", "gradient"), exact, plain, replaced, strict=True):
        largest, error, plain_error = _largest(true), _largest(after - true), _largest(before - true)
        found |= {
            f"{part}_largest": largest,
            f"{part}_difference": _largest(after - before),
            f"{part}_error": error,
            f"{part}_plain_error": plain_error,
        }
        # A NaN is no agreement.
        found["agrees"] = bool(found["agrees"] and error <= SLACK * plain_error + ROUNDING * largest)
    return found


def _rows(llama: nn.Module, lengths: Sequence[int]) -> list[Tensor]:
    """Random embeddings."""
    embedded = lm.causal_lm(llama).model.embed_tokens.weight
    generator = torch.Generator().manual_seed(0)
    width = lm.hidden_size(llama)
    return [torch.randn(n, width, generator=generator).mul(SPREAD).to(embedded) for n in lengths]


def _computed(llama: nn.Module, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [N, V] of all rows, and the gradient [N, D] of the mean of their squares, in fp32."""
    rows = [row.clone().requires_grad_() for row in rows]
    dtype = rows[0].dtype
    with torch.autocast(rows[0].device.type, dtype, enabled=dtype != torch.float32):
        logits = lm.logits(llama, torch.cat(lm.hidden_states(llama, rows))).float()
    gradients = torch.autograd.grad(logits.square().mean(), rows)
    return logits.detach(), torch.cat(gradients).float()


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max())
