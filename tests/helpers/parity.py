"""Checks of a model against what the published code computed on the same weights.

`tests/models/test_parity.py` runs them on the code as it is; `tests/models/test_mutations.py` on code with a planted
mistake, where they must raise AssertionError.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from helpers.tiny import Golden, golden_batch
from timechat.models import TimeChat
from timechat.models import llama as lm
from timechat.models.checkpoints import canonical_name
from timechat.models.eva_vit import encode_pixels
from timechat.text.conversation import encode_prompt
from timechat.text.timestamps import frame_sentence

CLOSE = {"rtol": 0.0, "atol": 2e-5}
VIDEO_TOKEN = 700  # id of <ImageHere> in the golden files


@torch.no_grad()
def check_vit(golden: Golden, model: TimeChat) -> None:
    """Tokens of the frame encoder, before and after their norm."""
    pixels = encode_pixels(model.visual_encoder, torch.cat(golden.videos()))
    assert_close(pixels, golden.tensors["vit_out"], **CLOSE)
    assert_close(model.ln_vision(pixels), golden.tensors["ln_vision_out"], **CLOSE)


@torch.no_grad()
def check_video_embeds(golden: Golden, model: TimeChat, suffix: str = "") -> None:
    """LLaMA embeddings of videos: through both Q-Formers, in windows."""
    out = model.encode_video(golden.videos("frames" + suffix), golden.expected["timestamps" + suffix])
    assert_close(torch.stack(out), golden.tensors["video_embeds" + suffix], **CLOSE)


def check_batch(golden: Golden, model: TimeChat) -> None:
    """Ids, labels and padding of the training batch, exact."""
    batch = golden_batch(golden, model.tokenizer)
    assert torch.equal(batch.input_ids, golden.tensors["input_ids"])
    assert torch.equal(batch.labels, golden.tensors["labels"])
    assert torch.equal(batch.attention_mask.sum(1), (golden.tensors["input_ids"] != 0).sum(1))


@torch.no_grad()
def check_loss(golden: Golden, model: TimeChat) -> None:
    """The loss of the training batch."""
    loss = model(golden_batch(golden, model.tokenizer))["loss"].item()
    assert loss == pytest.approx(golden.expected["loss"], abs=2e-5)


WORDS = "Qformer.bert.embeddings.word_embeddings.weight"


def check_gradients(golden: Golden, model: TimeChat) -> None:
    """The norm of every trainable parameter's gradient; frozen ones have none.

    Of the words of timestamp sentences without the padding's row: the golden run's transformers kept the table's
    `padding_idx` when it added [DEC]'s row, that of the published code makes a table without one.
    """
    trainable = {canonical_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    assert sorted(trainable) == sorted(golden.expected["trainable"])
    loss = model(golden_batch(golden, model.tokenizer))["loss"]
    gradients = torch.autograd.grad(loss, list(trainable.values()))
    learned = {name: grad[1:] if name == WORDS else grad for name, grad in zip(trainable, gradients, strict=True)}
    norms = {name: grad.norm().item() for name, grad in learned.items()}
    assert norms == pytest.approx(golden.expected["grad_norms"], rel=1e-4, abs=1e-7)


def prompts(golden: Golden) -> list[str]:
    """The question about each golden video."""
    return [golden.expected["prompt"], golden.expected["prompt"] + " Please return its start time and end time."]


def check_word_gradients(golden: Golden, model: TimeChat) -> None:
    """The gradient of the words of sentences of 12, 13 and 14 ids, row by row, against differences of the output.

    The padding's row learns as every other: the outputs at a sentence's padding are used.
    """
    model = copy.deepcopy(model).double()
    table = dict(model.named_parameters())[WORDS]
    frames, times = golden.videos()[0][:3].double(), [0.7, 10.6, 123.5]
    sentences = [model.timestamp_tokenizer.encode(frame_sentence(t)) for t in times]
    assert [len(ids) for ids in sentences] == [12, 13, 14]
    draws = torch.Generator().manual_seed(0)
    target = torch.randn(model.num_video_tokens(3), 64, generator=draws, dtype=torch.float64)

    def score() -> Tensor:
        return (model.encode_video([frames], [times])[0] * target).sum()

    (gradient,) = torch.autograd.grad(score(), table)
    used = sorted({0, *itertools.chain(*sentences)})
    assert gradient.any(dim=1).nonzero()[:, 0].tolist() == used
    step = 1e-5 * torch.randn(table.shape[1], generator=draws, dtype=torch.float64)
    with torch.no_grad():
        for row in used:
            table[row] += step
            above = score()
            table[row] -= 2 * step
            below = score()
            table[row] += step
            assert_close((above - below) / 2, gradient[row] @ step, rtol=1e-5, atol=1e-12)


@torch.no_grad()
def check_next_logits(golden: Golden, model: TimeChat) -> None:
    """The left-padded input of generation, made of the golden videos, and the scores of the first new token."""
    rows = []
    seconds, videos = golden.expected["timestamps"], golden.tensors["video_embeds"]
    for prompt, times, video in zip(prompts(golden), seconds, videos, strict=True):
        system = golden.expected["system"]
        ids = torch.tensor([encode_prompt(prompt, times, model.tokenizer, num_video_tokens=18, system=system)])
        rows.append(lm.embed_with_video(model.llama_model, ids, ids == VIDEO_TOKEN, [video])[0])
    embeds, mask = lm.left_pad(rows)
    assert torch.equal(mask, golden.tensors["context_mask"].bool())
    assert_close(embeds[mask], golden.tensors["context_embeds"][mask], **CLOSE)
    # Which token a padded place holds does not matter; positions count from the first real one.
    positions = mask.long().cumsum(1).sub(1).clamp(min=0)
    causal = model.llama_model.get_base_model()
    out = causal(inputs_embeds=embeds, attention_mask=mask.long(), position_ids=positions)
    assert_close(out.logits[:, -1], golden.tensors["next_logits"], **CLOSE)


def check_greedy_text(golden: Golden, model: TimeChat) -> None:
    """Greedy answers to both prompts."""
    texts = model.generate(
        golden.videos(),
        golden.expected["timestamps"],
        prompts(golden),
        system=golden.expected["system"],
        max_new_tokens=golden.tensors["generated_ids"].shape[1] - 1,
    )
    assert ["<s>" + text for text in texts] == golden.expected["generated_text"]
    assert texts[0] != texts[1]
