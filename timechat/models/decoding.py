"""Writes the answers to several prompts together, token by token.

Prompts about one video begin alike: system sentence, video, seconds. What they have in common is read once and kept
once; see `shared_cache`. A row leaves when it ends. What a row computes does not depend on its neighbours.

Hugging Face's `generate` reads every prompt whole, goes on with rows that have ended, and spends more time on
bookkeeping than a small decoder spends on its products. It still does beam search: see `llama.generate`.

Shapes: S tokens of a prompt, P tokens that the prompts of a group have in common, L tokens of a group with those once,
B rows that are being written, D width, h heads, k heads of keys and values, d width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timechat.models.decoding_steps import steps_of
from timechat.models.lean_llama import LeanLlama
from timechat.models.recording import no_recording
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


@torch.inference_mode()
def decode(
    llama: nn.Module,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    end: int,
    choose: Choose = greedy,
    enough: Enough | None = None,
) -> list[list[int]]:
    """Continue prompts.

    Args:
        llama: the decoder, in evaluation mode.
        prompts: one or more, in any order; those about the same are found.
        max_new_tokens: the longest answer, in tokens, 1 or more.
        end: the id that ends an answer.
        choose: how tokens are chosen.
        enough: asked after each token; ends answers early.

    Returns:
        The new ids of each prompt, `end` included where the decoder came to it.
    """
    lean, ids, rows = LeanLlama(llama), [list[int]() for _ in prompts], list(range(len(prompts)))
    scores, cache = _read(lean, prompts)
    with closing(steps_of(llama, lean, cache)) as steps:
        while rows:
            with no_recording:
                chosen = choose(scores, rows)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                ids[row].append(token)
            stopped = enough(ids) if enough else [False] * len(prompts)
            over = {row for row in rows if stopped[row] or ids[row][-1] == end or len(ids[row]) >= max_new_tokens}
            if over:
                rows = [row for row in rows if row not in over]
                steps.keep(rows)
            if rows:
                places = [len(prompts[row].ids) + len(ids[row]) - 1 for row in rows]
                scores = steps.scores([ids[row][-1] for row in rows], places)
    return ids


def _read(lean: LeanLlama, prompts: Sequence[Prompt]) -> tuple[Tensor, SharedCache]:
    """Read all prompts, group by group; scores [B, V] of what follows them, in the order of the prompts."""
    groups: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(prompt.about, []).append(row)
    longest = max(_places([prompts[row].ids for row in rows]) for rows in groups.values())
    cache, scores = SharedCache(len(groups), longest), [torch.empty(0)] * len(prompts)
    for rows in groups.values():
        reading = _Reading([prompts[row] for row in rows])
        read = lean.logits(reading.embeds, reading.positions, reading.attend, reading.last)
        cache.add(rows, reading.layers, reading.visible)
        reading.layers.clear()
        for row, of_row in zip(rows, read, strict=True):
            scores[row] = of_row
    return torch.stack(scores), cache


def common_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with; the last id of each is its own, because the scores after it are."""
    beginnings = zip(*(ids[:-1] for ids in prompts), strict=False)
    return sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, beginnings))


def _places(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens a group has, with those that all prompts have in common once."""
    common = common_length(prompts)
    return common + sum(len(ids) - common for ids in prompts)


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
            q, k, v = (heads[:, :, : self._common] for heads in (query, key, value))
            common = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            own = F.scaled_dot_product_attention(query[:, :, self._common :], key, value, self._hidden)
            out = torch.cat([common, own], dim=2)
        return out[0].transpose(0, 1)
