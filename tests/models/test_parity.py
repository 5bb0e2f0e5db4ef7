"""The tiny model against numbers that the published code computed on the same weights."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import Golden, build_tiny, golden_batch
from torch.testing import assert_close

from timechat.models import TimeChat
from timechat.models import llama as lm
from timechat.models.checkpoints import canonical_name
from timechat.models.eva_vit import encode_pixels
from timechat.text.conversation import encode_prompt
from timechat.text.timestamps import frame_sentence

CLOSE = {"rtol": 0.0, "atol": 2e-5}


@torch.no_grad()
def test_vit_and_its_norm(golden: Golden, tiny_model: TimeChat) -> None:
    pixels = encode_pixels(tiny_model.visual_encoder, torch.cat(golden.videos()))
    assert_close(pixels, golden.tensors["vit_out"], **CLOSE)
    assert_close(tiny_model.ln_vision(pixels), golden.tensors["ln_vision_out"], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["", "_short"])
def test_video_embeds(golden: Golden, tiny_model: TimeChat, suffix: str) -> None:
    """Two videos of three windows (4, 4 and 2 frames), and one whose last window is short."""
    out = tiny_model.encode_video(golden.videos("frames" + suffix), golden.expected["timestamps" + suffix])
    assert_close(torch.stack(out), golden.tensors["video_embeds" + suffix], **CLOSE)


@torch.no_grad()
def test_sentences_of_two_lengths_in_one_batch_equal_each_video_alone(golden: Golden, tiny_model: TimeChat) -> None:
    """Padding that only the batch adds (12 and 15 ids) changes nothing."""
    out = tiny_model.encode_video(golden.videos("frames_two_lengths"), golden.expected["timestamps_two_lengths"])
    assert_close(torch.stack(out), golden.tensors["video_embeds_two_lengths"], **CLOSE)


def test_timestamp_ids(golden: Golden, tiny_model: TimeChat) -> None:
    sentences = [frame_sentence(t) for video in golden.expected["timestamps"] for t in video]
    rows = [tiny_model.timestamp_tokenizer.encode(s) for s in sentences]
    masked = zip(golden.tensors["q_input_ids"], golden.tensors["q_attention_mask"], strict=True)
    assert rows == [ids[mask.bool()].tolist() for ids, mask in masked]


def test_batch_ids_and_labels(golden: Golden, tiny_model: TimeChat) -> None:
    batch = golden_batch(golden, tiny_model.tokenizer)
    assert torch.equal(batch.input_ids, golden.tensors["input_ids"])
    assert torch.equal(batch.labels, golden.tensors["labels"])
    assert torch.equal(batch.attention_mask.sum(1), (golden.tensors["input_ids"] != 0).sum(1))


def test_loss_and_gradients_of_every_trainable_parameter(golden: Golden) -> None:
    model = build_tiny()
    trainable = {canonical_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    assert sorted(trainable) == sorted(golden.expected["trainable"])
    out = model(golden_batch(golden, model.tokenizer))
    assert out["loss"].item() == pytest.approx(golden.expected["loss"], abs=2e-5)
    out["loss"].backward()
    norms = {name: p.grad.norm().item() for name, p in trainable.items()}
    assert norms == pytest.approx(golden.expected["grad_norms"], rel=1e-4, abs=1e-7)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@torch.no_grad()
def test_sample_losses_are_token_means_that_make_up_the_loss(golden: Golden, tiny_model: TimeChat) -> None:
    batch = golden_batch(golden, tiny_model.tokenizer)
    out = tiny_model(batch)
    counts = (batch.labels[:, 1:] != -100).sum(1)
    assert len(set(counts.tolist())) == 2  # equal counts would hide a wrong weighting
    assert_close((out["sample_losses"] * counts).sum() / counts.sum(), out["loss"], **CLOSE)
    assert not torch.isclose(out["sample_losses"].mean(), out["loss"], atol=1e-4)


def _prompts(golden: Golden) -> list[str]:
    return [
        golden.expected["prompt"],
        golden.expected["prompt"] + " Please return its start time and end time.",
    ]


@torch.no_grad()
def test_context_embeds_and_next_logits(golden: Golden, tiny_model: TimeChat) -> None:
    """The left-padded input of generation, and the scores of the first new token."""
    rows = []
    seconds, videos = golden.expected["timestamps"], golden.tensors["video_embeds"]
    for prompt, times, video in zip(_prompts(golden), seconds, videos, strict=True):
        system = golden.expected["system"]
        ids = encode_prompt(prompt, times, tiny_model.tokenizer, num_video_tokens=18, system=system)
        ids = torch.tensor([ids])
        rows.append(lm.embed_with_video(tiny_model.llama_model, ids, ids == 700, [video])[0])
    embeds, mask = lm.left_pad(rows)
    assert torch.equal(mask, golden.tensors["context_mask"].bool())
    assert_close(embeds[mask], golden.tensors["context_embeds"][mask], **CLOSE)
    # Which token a padded place holds does not matter; positions count from the first real one.
    positions = mask.long().cumsum(1).sub(1).clamp(min=0)
    causal = tiny_model.llama_model.get_base_model()
    out = causal(inputs_embeds=embeds, attention_mask=mask.long(), position_ids=positions)
    assert_close(out.logits[:, -1], golden.tensors["next_logits"], **CLOSE)


def test_greedy_text(golden: Golden, tiny_model: TimeChat) -> None:
    texts = tiny_model.generate(
        golden.videos(),
        golden.expected["timestamps"],
        _prompts(golden),
        system=golden.expected["system"],
        max_new_tokens=golden.tensors["generated_ids"].shape[1] - 1,
    )
    ids = golden.tensors["generated_ids"].tolist()
    assert texts == [tiny_model.tokenizer.decode(row) for row in ids]
    assert texts[0] != texts[1]
