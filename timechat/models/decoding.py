"""Writes the answers to several prompts together, token by token.

Prompts about one video begin alike: system sentence, video, seconds. What they have in common is read once and kept
once; see `shared_cache`. A row leaves when it ends, and where rows wait, the next ones take its place. What a row
computes does not depend on its neighbours.

Hugging Face's `generate` reads every prompt whole, goes on with rows that have ended, and spends more time on
bookkeeping than a small decoder spends on its products. It still does beam search: see `llama.generate`.

Shapes: S tokens of a prompt, P tokens that the prompts of a group have in common, L tokens of a group with those once,
B rows that are being written, D width, h heads, k heads of keys and values, d width of a head, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timechat.models.lean_llama import LeanLlama
from timechat.models.shared_cache import SharedCache

# Scores of the next tokens [B, V] and the numbers of their rows -> the tokens [B].
Choose = Callable[[Tensor, Sequence[int]], Tensor]
# The new ids of each prompt so far -> whether they are enough.
Enough = Callable[[Sequence[Sequence[int]]], Sequence[bool]]


@dataclass(frozen=True)
class Prompt:
    """What an answer continues.

    Attributes:
        ids: of its S tokens.
        embeds: [S, D], of the same tokens.
        about: equal for prompts whose embeddings are equal as far as their ids are, such as those about one video.
    """

    ids: Sequence[int]
    embeds: Tensor
    about: Hashable


def greedy(scores: Tensor, rows: Sequence[int]) -> Tensor:
    """The most likely token of each row."""
    return scores.argmax(dim=-1)


@torch.no_grad()
def decode(
    llama: nn.Module,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    end: int,
    choose: Choose = greedy,
    enough: Enough | None = None,
    batch_size: int | None = None,
) -> list[list[int]]:
    """Continue prompts.

    Args:
        llama: the decoder, in evaluation mode.
        prompts: in any order; those about the same are found.
        max_new_tokens: the longest answer, in tokens, 1 or more.
        end: the id that ends an answer.
        choose: how tokens are chosen.
        enough: asked after each token; ends answers early.
        batch_size: answers that are written together; None for all.

    Returns:
        The new ids of each prompt, `end` included where the decoder came to it.
    """
    writing = _Writing(llama, prompts, batch_size or len(prompts))
    while rows := writing.next_scores():
        for row, token in zip(rows, choose(writing.scores, rows).tolist(), strict=True):
            writing.ids[row].append(token)
        stopped = enough(writing.ids) if enough else [False] * len(prompts)
        writing.keep(
            [r for r in rows if not (stopped[r] or writing.ids[r][-1] == end or len(writing.ids[r]) == max_new_tokens)]
        )
    return writing.ids


def groups_of(prompts: Sequence[Prompt], largest: int) -> list[list[int]]:
    """The numbers of prompts that are about the same, at most `largest` together."""
    alike: dict[Hashable, list[int]] = {}
    for number, prompt in enumerate(prompts):
        alike.setdefault(prompt.about, []).append(number)
    return [rows[first : first + largest] for rows in alike.values() for first in range(0, len(rows), largest)]


def common_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with; the last id of each is its own, because the scores after it are."""
    beginnings = zip(*(ids[:-1] for ids in prompts), strict=False)
    return sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, beginnings))


class _Writing:
    """Answers that are being written.

    Attributes:
        ids: the new ids of each prompt.
        scores: [B, V], of the next tokens of the rows that `next_scores` returned.
    """

    def __init__(self, llama: nn.Module, prompts: Sequence[Prompt], batch_size: int):
        self._llama, self._prompts, self._batch_size = LeanLlama(llama), prompts, batch_size
        self._waiting = deque(groups_of(prompts, batch_size))
        self._rows: list[int] = []
        self._cache = SharedCache(min(batch_size, len(self._waiting)), max((len(p.ids) for p in prompts), default=0))
        self.ids: list[list[int]] = [[] for _ in prompts]

    def next_scores(self) -> list[int]:
        """Let every row read its last token, and new rows their prompts; the rows, none of them at the end."""
        rows, scores = list(self._rows), [self._step()] if self._rows else []
        while self._waiting and len(rows) + len(self._waiting[0]) <= self._batch_size:
            group = self._waiting.popleft()
            scores.append(self._read(group))
            rows += group
        self._rows = sorted(rows)
        if rows:
            self.scores = torch.cat(scores)
            if rows != self._rows:
                self.scores = self.scores[[rows.index(row) for row in self._rows]]
        return self._rows

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        if len(rows) < len(self._rows):
            self._cache.keep(rows)
            self._rows = list(rows)

    def _step(self) -> Tensor:
        """Scores [B, V] after the last token of each row."""
        device = self._prompts[0].embeds.device
        tokens = torch.tensor([self.ids[row][-1] for row in self._rows], device=device)
        places = [len(self._prompts[row].ids) + len(self.ids[row]) - 1 for row in self._rows]
        self._cache.step()
        return self._llama.logits(self._llama.embed(tokens), torch.tensor(places, device=device), self._cache.attend)

    def _read(self, rows: Sequence[int]) -> Tensor:
        """Read the prompts of a group; scores [rows, V] after each of them."""
        reading = _Reading([self._prompts[row] for row in rows])
        scores = self._llama.logits(reading.embeds, reading.positions, reading.attend, reading.last)
        self._cache.add(rows, reading.layers, reading.visible)
        return scores


class _Reading:
    """The prompts of a group in one sequence: what they have in common, then what each has of its own.

    Attributes:
        embeds: [L, D].
        positions: [L], of each token in its prompt.
        last: [rows], the place of each prompt's last token.
        visible: bool [rows, L], what these see.
        layers: keys and values of the layers that have attended, [2, L, k, d].
    """

    def __init__(self, prompts: Sequence[Prompt]):
        device, embeds = prompts[0].embeds.device, [prompt.embeds for prompt in prompts]
        self._common = common_length([prompt.ids for prompt in prompts])
        sizes = torch.tensor([len(own) - self._common for own in embeds], device=device)
        starts = self._common + sizes.cumsum(0) - sizes
        owner = torch.arange(len(prompts), device=device).repeat_interleave(sizes)  # of each place that is not common
        place = torch.arange(self._common + len(owner), device=device)
        shared, own = place.split([self._common, len(owner)])
        self.embeds = torch.cat([embeds[0][: self._common], *(own[self._common :] for own in embeds)])
        self.positions = torch.cat([shared, own - (starts - self._common)[owner]])
        self.last = starts + sizes - 1
        mine = (owner[:, None] == owner) & (own[:, None] >= own)
        visible = F.pad(mine, (self._common, 0), value=True)
        self.visible = visible[self.last - self._common]
        self._hidden = torch.zeros_like(visible, dtype=self.embeds.dtype).masked_fill_(~visible, -torch.inf)
        self.layers: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep keys and values [L, k, d], and let queries [L, h, d], or those of `last` alone, attend; [same, h, d]."""
        self.layers.append(torch.stack([key, value]))
        only_last, times = len(query) < len(key), query.shape[1] // key.shape[1]
        query, key, value = (
            heads.transpose(0, 1)[None] for heads in (query, *(x.repeat_interleave(times, 1) for x in (key, value)))
        )
        if only_last:
            out = F.scaled_dot_product_attention(query, key, value, self._hidden[self.last - self._common])
        else:
            common = [heads[:, :, : self._common] for heads in (query, key, value)]
            own = F.scaled_dot_product_attention(query[:, :, self._common :], key, value, self._hidden)
            out = torch.cat([F.scaled_dot_product_attention(*common, is_causal=True), own], dim=2)
        return out[0].transpose(0, 1)
