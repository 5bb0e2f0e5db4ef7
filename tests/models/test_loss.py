"""The loss in chunks is the loss at once."""

from __future__ import annotations

import pytest
import torch
from helpers.engine_checks import batches, tiny_model
from torch import Tensor, nn
from torch.testing import assert_close

from timechat.models import loss
from timechat.models.loss import token_losses

TOKENS, WIDTH, WORDS = 23, 8, 50


def numbers(monkeypatch: pytest.MonkeyPatch, most: int) -> tuple[Tensor, ...]:
    """Losses, hits, and gradients of hidden states and head, with so many logits at once."""
    monkeypatch.setattr(loss, "MOST_LOGITS", most)
    torch.manual_seed(0)
    head, hidden = nn.Linear(WIDTH, WORDS, bias=False), torch.randn(TOKENS, WIDTH, requires_grad=True)
    targets = torch.randint(WORDS, (TOKENS,))
    targets[::2] = head(hidden[::2]).argmax(dim=-1)
    losses, hits = token_losses(head, hidden, targets, WORDS, find_hits=True)
    (losses * torch.arange(TOKENS)).sum().backward()
    return losses, hits, hidden.grad, head.weight.grad


@pytest.mark.parametrize("most", [1, WORDS * 5, WORDS * TOKENS - 1])
def test_chunks_change_no_number(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole, chunked = (numbers(monkeypatch, size) for size in (WORDS * TOKENS, most))
    assert chunked[1].tolist() == whole[1].tolist()
    assert {True, False} == set(whole[1].tolist())
    for ours, theirs in zip(chunked, whole, strict=True):
        assert_close(ours, theirs, rtol=1e-6, atol=1e-5)


def test_no_more_logits_than_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    for most in (WORDS * TOKENS, WORDS * 5):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
            numbers_of_forward(monkeypatch, most)
        assert (max(kept) >= WORDS * TOKENS) == (most == WORDS * TOKENS)
        kept.clear()


def numbers_of_forward(monkeypatch: pytest.MonkeyPatch, most: int) -> Tensor:
    monkeypatch.setattr(loss, "MOST_LOGITS", most)
    head, hidden = nn.Linear(WIDTH, WORDS, bias=False), torch.randn(TOKENS, WIDTH, requires_grad=True)
    return token_losses(head, hidden, torch.zeros(TOKENS, dtype=torch.long), WORDS, find_hits=False)[0]


@pytest.mark.parametrize("most", [WORDS * TOKENS, WORDS * 5])
def test_the_likeliest_tokens_are_looked_for_only_if_asked(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(loss, "MOST_LOGITS", most)
    targets, head = torch.zeros(TOKENS, dtype=torch.long), nn.Linear(WIDTH, WORDS)
    assert token_losses(head, torch.randn(TOKENS, WIDTH), targets, WORDS, find_hits=False)[1] is None


def test_a_head_whose_weights_are_gathered_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has another number of tokens: in chunks, it would call more or less often, and wait for ever."""
    model, calls = tiny_model(), []
    monkeypatch.setattr(loss, "MOST_LOGITS", 1000)
    head = model.llama_model.get_base_model().lm_head
    head.register_forward_hook(lambda *_: calls.append(1))
    batch = batches(model)[0]
    losses = [model(batch)["loss"].detach()]
    assert len(calls) > 1
    calls.clear()
    head.weight.ds_id = 0  # as DeepSpeed's ZeRO-3 does
    losses.append(model(batch)["loss"].detach())
    assert len(calls) == 1
    assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_the_models_losses_gradients_and_exact_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = tiny_model(), []
    for most in (loss.MOST_LOGITS, 1000):
        monkeypatch.setattr(loss, "MOST_LOGITS", most)
        model.train().zero_grad()
        outs = [model(batch) for batch in batches(model)]
        torch.stack([out["loss"] + out["sample_losses"].sum() for out in outs]).sum().backward()
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            model.eval()
            exact = [model(batch)["sample_exact"] for batch in batches(model)]
        found.append([*(out["sample_losses"].detach() for out in outs), *grads, *exact])
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * max(1.0, float(theirs.abs().max())))
