"""Rows in one sequence, without padding: what each gives alone, whatever attention function the decoder has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import LLAMA, llama_folder
from torch import Tensor
from torch.testing import assert_close

from timechat.models import llama as lm
from timechat.models.packing import ROWS, attend, positions

LENGTHS = (5, 1, 9)


def rows_of(width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, width, generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_a_row_gives_what_it_gives_alone(tmp_path: Path, attention: str) -> None:
    """Also with an attention function that knows nothing of rows: transformers makes their mask of the positions."""
    folder = llama_folder(tmp_path / "llama", attn_implementation=attention)
    llama = lm.build_llama(folder, precision="fp32").eval()
    assert llama.config._attn_implementation == (ROWS if attention == "sdpa" else attention)
    rows = rows_of(64)
    together = lm.hidden_states(llama, rows)
    assert [len(row) for row in together] == list(LENGTHS)
    for row, hidden in zip(rows, together, strict=True):
        assert_close(hidden, llama.model(inputs_embeds=row[None]).last_hidden_state[0])


def test_gradients_are_those_of_the_padded_batch() -> None:
    """Of weights and embeddings, with activations that are recomputed, too: then rows are packed a second time."""
    padded, packed, recomputed = (lm.build_llama(LLAMA, precision="fp32").train() for _ in range(3))
    lm.enable_grad_checkpointing(recomputed)

    def in_one_batch(rows: list[Tensor]) -> list[Tensor]:
        embeds = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True).long()
        out = padded.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        return [hidden[: len(row)] for hidden, row in zip(out, rows, strict=True)]

    def gradients(llama: torch.nn.Module, run: Callable[[list[Tensor]], list[Tensor]]) -> list[Tensor | None]:
        rows = [row.requires_grad_() for row in rows_of(64)]
        torch.cat(run(rows)).square().sum().backward()
        layer = llama.get_submodule("model.layers.0.self_attn.k_proj")
        return [layer.weight.grad, *(row.grad for row in rows)]

    expected = gradients(padded, in_one_batch)
    for llama in (packed, recomputed):
        for theirs, ours in zip(expected, gradients(llama, partial(lm.hidden_states, llama)), strict=True):
            assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_heads_that_share_keys() -> None:
    """As in LLaMA 70B: four heads, two pairs of keys and values."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, sum(LENGTHS), 8, generator=generator) for heads in (4, 2, 2))
    out, _ = attend(torch.nn.Module(), query, key, value, None, row_lengths=LENGTHS, scaling=0.5)
    spread = [part.repeat_interleave(2, dim=1) for part in (key, value)]
    start = 0
    for length in LENGTHS:
        q, k, v = (part[:, :, start : start + length] for part in (query, *spread))
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5).transpose(1, 2)
        assert_close(out[:, start : start + length], expected)
        start += length


def test_positions_count_from_each_rows_start() -> None:
    assert positions([2, 0, 3], torch.device("cpu")).tolist() == [0, 1, 0, 1, 2]
