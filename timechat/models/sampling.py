"""Draws tokens as Hugging Face's `generate` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

TOP_K = 50  # Hugging Face's default: what is less likely than the first 50 tokens is never drawn


class Drawing:
    """Draws the tokens of a batch of answers from torch's global generator.

    Args:
        rows: answers of the batch. Each step uses random numbers for all of them, so that an answer does not depend on
            when others end.
        temperature: above 0; larger is more random.
        top_p: nucleus sampling: draw from the most likely tokens whose probabilities add up to this.
    """

    def __init__(self, rows: int, temperature: float, top_p: float):
        self._rows = rows
        # In the order in which `generate` applies them.
        self._warpers = LogitsProcessorList([TemperatureLogitsWarper(float(temperature)), TopKLogitsWarper(TOP_K)])
        if top_p < 1.0:
            self._warpers.append(TopPLogitsWarper(top_p))

    def __call__(self, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """Scores [B, V] of the next tokens of some rows -> the tokens [B]."""
        nothing_read = scores.new_empty(len(rows), 0, dtype=torch.long)  # these warpers look at scores alone
        warped = self._warpers(cast(torch.LongTensor, nothing_read), scores.float())
        probabilities = warped.new_ones(self._rows, warped.shape[1])
        probabilities[list(rows)] = warped.softmax(dim=-1)
        return torch.multinomial(probabilities, num_samples=1)[list(rows), 0]
