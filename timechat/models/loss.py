"""The loss of each supervised token, without the logits of all of them at once.

A number for every token and every word of the vocabulary takes more memory than the decoder's activations where
answers are long: 4,000 tokens and 32,000 words are 0.5 GB in fp32, and loss and gradients take that several times.
Shapes: N supervised tokens, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**25  # numbers at once: 1,048 tokens of a vocabulary of 32,000, 128 MB


def token_losses(
    head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, vocabulary: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each token, and whether it is the most likely one.

    More than MOST_LOGITS are computed in chunks, and once more in the backward pass.

    Args:
        head: hidden states [n, D] -> logits [n, V].
        hidden: [N, D].
        targets: [N], the ids that should follow.
        vocabulary: V.

    Returns:
        Losses [N] in fp32, and bool [N].
    """
    size = max(1, MOST_LOGITS // vocabulary)
    if len(targets) <= size:
        return _chunk(head, hidden, targets)
    chunks = [
        checkpoint(_chunk, head, some, wanted, use_reentrant=False, preserve_rng_state=False)
        for some, wanted in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    losses, hits = zip(*chunks, strict=True)
    return torch.cat(losses), torch.cat(hits)


def _chunk(head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = head(hidden).float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses, logits.detach().argmax(dim=-1) == targets
