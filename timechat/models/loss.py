"""The loss of each supervised token, without the logits of all of them at once.

A number for every token and every word of the vocabulary takes more memory than the decoder's activations where
answers are long: 4,000 tokens and 32,000 words are 0.5 GB in fp32, and loss and gradients take that several times.
Shapes: N supervised tokens, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from timechat.models.chunks import is_gathered

MOST_LOGITS = 2**25  # numbers at once: 1,048 tokens of a vocabulary of 32,000, 128 MB


def token_losses(
    head: nn.Module, hidden: Tensor, targets: Tensor, vocabulary: int, *, find_hits: bool
) -> tuple[Tensor, Tensor | None]:
    """Cross-entropy of each token, and whether it is the most likely one.

    More than MOST_LOGITS are computed in chunks, and once more in the backward pass; but at once where processes gather
    the head's weights, because they have different numbers of tokens and must call it equally often.

    Args:
        head: hidden states [n, D] -> logits [n, V].
        hidden: [N, D].
        targets: [N], the ids that should follow.
        vocabulary: V.
        find_hits: whether to look for the most likely tokens.

    Returns:
        Losses [N] in fp32, and bool [N], or None.
    """
    size = len(targets) if is_gathered(head) else max(1, MOST_LOGITS // vocabulary)
    if len(targets) <= size:
        return _chunk(head, hidden, targets, find_hits)
    chunks = [
        checkpoint(_chunk, head, some, wanted, find_hits, use_reentrant=False, preserve_rng_state=False)
        for some, wanted in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    losses, hits = zip(*chunks, strict=True)
    return torch.cat(losses), torch.cat(hits) if find_hits else None


def _chunk(head: nn.Module, hidden: Tensor, targets: Tensor, find_hits: bool) -> tuple[Tensor, Tensor | None]:
    logits = head(hidden).float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses, logits.detach().argmax(dim=-1) == targets if find_hits else None
