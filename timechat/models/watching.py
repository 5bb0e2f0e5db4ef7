"""Answers while they are written: see each token as it comes, and end answers early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from timechat.text.tokenizers import LlamaTokenizer


@dataclass(frozen=True)
class PartialAnswer:
    """One answer of a batch, as far as it is written.

    Attributes:
        text: the words so far. A character of several tokens ends in U+FFFD until its last one is there.
        num_tokens: how many tokens were generated for it, `</s>` included.
        ended: the model ended it itself, with `</s>`.
    """

    text: str
    num_tokens: int
    ended: bool


# After each token: the answers of the batch so far -> for each of them, whether it is enough.
Watch = Callable[[list[PartialAnswer]], list[bool]]


class Watching(transformers.StoppingCriteria):
    """Shows a batch of answers to a `Watch` after each token, and ends those that it has enough of."""

    def __init__(self, watch: Watch, tokenizer: LlamaTokenizer):
        self.watch, self.tokenizer = watch, tokenizer
        self.lengths: list[int | None] = []  # of answers that are finished: the rest of a row is padding

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        """New ids [B, n] so far -> bool [B], true for rows that are finished."""
        rows = input_ids.tolist()
        self.lengths = self.lengths or [None] * len(rows)
        answers = [self._partial(row[:length]) for row, length in zip(rows, self.lengths, strict=True)]
        enough = [stop or answer.ended for stop, answer in zip(self.watch(answers), answers, strict=True)]
        for i, row in enumerate(rows):
            if enough[i] and self.lengths[i] is None:
                self.lengths[i] = len(row)
        done = [length is not None for length in self.lengths]
        return torch.tensor(done, device=input_ids.device)  # type: ignore[return-value]

    def _partial(self, ids: list[int]) -> PartialAnswer:
        return PartialAnswer(self.tokenizer.decode(ids), len(ids), self.tokenizer.eos_id in ids)
