"""The reference that speed is compared with computes the same numbers: embeddings, losses, gradients, answers."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import Golden, build_tiny, golden_batch
from helpers.training import NO_DROPOUT

from benchmarks.eager import EagerTimeChat
from timechat.models import TimeChat


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.load()


@pytest.fixture(scope="module")
def model() -> TimeChat:
    return build_tiny(NO_DROPOUT)


@pytest.fixture(scope="module")
def frames(golden: Golden) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, video.shape, dtype=torch.uint8, generator=generator) for video in golden.videos()]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_embeddings_are_the_same(golden: Golden, model: TimeChat, frames: list[torch.Tensor]) -> None:
    seconds = golden.expected["timestamps"]
    pairs = zip(model.encode_video(frames, seconds), EagerTimeChat(model).encode_video(frames, seconds), strict=True)
    for own, reference in pairs:
        close(own, reference)


def test_losses_and_gradients_are_the_same(golden: Golden, model: TimeChat) -> None:
    batch = golden_batch(golden, model.tokenizer)
    losses = model.train()(batch)["sample_losses"].mean(), EagerTimeChat(model).loss(batch)
    close(*losses)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own, reference = (torch.autograd.grad(loss, list(learning.values()), allow_unused=True) for loss in losses)
    model.eval()
    for name, one, other in zip(learning, own, reference, strict=True):
        assert one is not None, name
        assert other is not None, name
        close(one, other)


def test_answers_are_the_same(golden: Golden, model: TimeChat, frames: list[torch.Tensor]) -> None:
    seconds, prompts = golden.expected["timestamps"], ["When does the chef cut the bread?", "What happens at first?"]
    eager = EagerTimeChat(model)
    own = model.generate(frames, seconds, prompts, max_new_tokens=12)
    assert own == eager.answer(eager.encode_video(frames, seconds), seconds, prompts, 12)
    assert any(own)


def test_the_decoder_gets_its_attention_back(golden: Golden, model: TimeChat) -> None:
    decoder = model.llama_model.get_base_model()
    before = decoder.config._attn_implementation
    EagerTimeChat(model).loss(golden_batch(golden, model.tokenizer))
    assert decoder.config._attn_implementation == before != "eager"
