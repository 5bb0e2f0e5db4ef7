"""A test of the golden tests: with a mistake planted in the product, they fail.

Each mutation is what a porter of the published code could get wrong, and every shape stays right under it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import parity
from helpers.tiny import Golden
from torch import Tensor

from timechat.batch import VideoBatch
from timechat.models import TimeChat, qformer, video_encoder, video_qformer
from timechat.models.video_qformer import window_slices
from timechat.text import conversation

Patch = pytest.MonkeyPatch
Check = Callable[[Golden, TimeChat], None]


def video_embeds_short(golden: Golden, model: TimeChat) -> None:
    """A last window that is short."""
    parity.check_video_embeds(golden, model, "_short")


def video_embeds_two_lengths(golden: Golden, model: TimeChat) -> None:
    """Timestamp sentences of 12 and 15 ids in one batch."""
    parity.check_video_embeds(golden, model, "_two_lengths")


CHECKS: list[Check] = [
    parity.check_vit,
    parity.check_video_embeds,
    video_embeds_short,
    video_embeds_two_lengths,
    parity.check_batch,
    parity.check_loss,
    parity.check_gradients,
    parity.check_word_gradients,
    parity.check_next_logits,
    parity.check_greedy_text,
]


# The planted mistakes -------------------------------------------------------------------------------------------------


def own_padding_masked(model: TimeChat, patch: Patch) -> None:
    """The video Q-Former does not look at the padding of a video's own timestamp sentences."""
    ids, masks = model._timestamp_ids, []

    def remember(*args: Any) -> tuple[Tensor, Tensor, list[int]]:
        masks[:] = [ids(*args)[1]]
        return ids(*args)

    def encode(former: Any, queries: Tensor, videos: list[Tensor], *, window_size: int, stride: int) -> list[Tensor]:
        kept = masks[0].split([len(video) for video in videos])
        out = []
        for video, text in zip(videos, kept, strict=True):
            num_queries = model.query_tokens.shape[1]
            seen = torch.cat([text.new_ones(len(video), num_queries), text], dim=1)[:, : video.shape[1]]
            windows = window_slices(len(video), window_size, stride)
            out.append(torch.cat([former(queries, video[its][seen[its]][None])[0] for its in windows]))
        return out

    patch.setattr(model, "_timestamp_ids", remember)
    patch.setattr(video_encoder, "encode_windows", encode)


def text_before_queries(model: TimeChat, patch: Patch) -> None:
    """The Q-Former's sequence begins with the text, and what follows takes its first places for the queries."""
    embed = qformer.Embeddings.forward

    def forward(self: qformer.Embeddings, queries: Tensor, input_ids: Tensor | None) -> Tensor:
        return embed(self, queries, input_ids).roll(-queries.shape[1], dims=1)

    patch.setattr(qformer.Embeddings, "forward", forward)


def labels_shifted_in_the_loss(model: TimeChat, patch: Patch) -> None:
    """A token is predicted from itself."""
    forward = TimeChat.forward

    def shifted(self: TimeChat, batch: VideoBatch) -> dict[str, Tensor]:
        return forward(self, replace(batch, labels=batch.labels.roll(1, dims=1)))

    patch.setattr(TimeChat, "forward", shifted)


def labels_shifted_in_the_data(model: TimeChat, patch: Patch) -> None:
    """Conversations come with labels that are shifted already."""
    encode = conversation.encode_conversation

    def shifted(*args: Any, **kwargs: Any) -> conversation.EncodedConversation:
        enc = encode(*args, **kwargs)
        return replace(enc, labels=[*enc.labels[1:], conversation.IGNORE_INDEX])

    patch.setattr("helpers.tiny.encode_conversation", shifted)


def frame_positions_left_out(model: TimeChat, patch: Patch) -> None:
    """Frames come without their place in the video."""
    encode = video_encoder.encode_windows

    def without(former: Any, queries: Tensor, videos: list[Tensor], **kwargs: Any) -> list[Tensor]:
        positions = model.video_frame_position_embedding.weight[:, None]
        return encode(former, queries, [video - positions[: len(video)] for video in videos], **kwargs)

    patch.setattr(video_encoder, "encode_windows", without)


def frame_positions_from_one(model: TimeChat, patch: Patch) -> None:
    """Frames are counted from 1."""
    table = model.video_frame_position_embedding
    table.weight = torch.nn.Parameter(table.weight.roll(-1, dims=0))


def cross_attention_in_odd_layers(model: TimeChat, patch: Patch) -> None:
    """The queries look at the frame in layers 1 and 3, not in 0 and 2."""
    layers = model.Qformer.bert.encoder.layer
    for even, odd in ((0, 1), (2, 3)):
        layers[odd].crossattention = layers[even].crossattention
        del layers[even].crossattention


def cross_attention_of_the_video_in_every_second_layer(model: TimeChat, patch: Patch) -> None:
    """The video Q-Former cross-attends to the frames only in layer 0."""
    del model.video_Qformer.bert.encoder.layer[1].crossattention


def windows_at_the_wrong_stride(model: TimeChat, patch: Patch) -> None:
    """As many windows, but each begins a frame too early."""

    def slices(num_frames: int, window_size: int, stride: int) -> list[slice]:
        count = len(window_slices(num_frames, window_size, stride))
        starts = [i * (stride - 1) for i in range(count)]
        return [slice(start, min(start + window_size, num_frames)) for start in starts]

    patch.setattr(video_qformer, "window_slices", slices)


def padding_of_the_batch_seen(model: TimeChat, patch: Patch) -> None:
    """Sentences are padded over all videos and the outputs there are kept, as the published code does it."""
    ids = model._timestamp_ids

    def padded(*args: Any) -> tuple[Tensor, Tensor, list[int]]:
        input_ids, mask, lengths = ids(*args)
        return input_ids, mask, [max(lengths)] * len(lengths)

    patch.setattr(model, "_timestamp_ids", padded)


def padding_learns_nothing(model: TimeChat, patch: Patch) -> None:
    """The table of the words of timestamp sentences has a padding row without a gradient, as BERT's has."""
    model.Qformer.bert.embeddings.word_embeddings.padding_idx = 0


VIDEO = {"check_video_embeds", "video_embeds_short", "video_embeds_two_lengths"}
LEARNING = {"check_loss", "check_gradients"}
WHOLE = {*LEARNING, "check_greedy_text"}

# (mutation, the checks that fail; all others pass, so that a mutation breaks what it says and nothing else)
MUTATIONS: list[tuple[Callable[[TimeChat, Patch], None], set[str]]] = [
    (own_padding_masked, {*VIDEO, *WHOLE, "check_word_gradients"}),
    (text_before_queries, {*VIDEO, *WHOLE}),
    (labels_shifted_in_the_loss, LEARNING),
    (labels_shifted_in_the_data, {"check_batch", *LEARNING}),
    (frame_positions_left_out, {*VIDEO, *WHOLE}),
    (frame_positions_from_one, {*VIDEO, *WHOLE}),
    (cross_attention_in_odd_layers, {*VIDEO, *WHOLE}),
    (cross_attention_of_the_video_in_every_second_layer, {*VIDEO, *WHOLE}),
    (windows_at_the_wrong_stride, {*VIDEO, *WHOLE}),
    (padding_of_the_batch_seen, {"video_embeds_two_lengths"}),
    (padding_learns_nothing, {"check_word_gradients"}),
]


@pytest.fixture
def model(tiny_model: TimeChat) -> TimeChat:
    """A copy that a mutation may change."""
    return copy.deepcopy(tiny_model)


def failing(golden: Golden, model: TimeChat) -> set[str]:
    """Names of the checks that find a wrong number; a crash does not count."""
    found = set()
    for check in CHECKS:
        try:
            check(golden, model)
        except AssertionError:
            found.add(check.__name__)
    return found


@pytest.mark.parametrize(("plant", "expected"), MUTATIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_mistake_is_found(
    golden: Golden, model: TimeChat, monkeypatch: Patch, plant: Callable[[TimeChat, Patch], None], expected: set[str]
) -> None:
    plant(model, monkeypatch)
    assert failing(golden, model) == expected


def test_without_a_mistake_every_check_passes(golden: Golden, model: TimeChat) -> None:
    assert failing(golden, model) == set()
