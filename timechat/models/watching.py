"""Answers while they are written: see each token as it comes, and end answers early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


class Watching:
    """Shows answers to a `Watch` after each token, and says which of them it has enough of."""

    def __init__(self, watch: Watch, tokenizer: LlamaTokenizer):
        self.watch, self.tokenizer = watch, tokenizer

    def __call__(self, ids: Sequence[Sequence[int]]) -> list[bool]:
        """The new ids of each answer so far -> whether they are enough."""
        return self.watch([self._partial(row) for row in ids])

    def _partial(self, ids: Sequence[int]) -> PartialAnswer:
        return PartialAnswer(self.tokenizer.decode(ids), len(ids), self.tokenizer.eos_id in ids)
