"""Frames in chunks: no number depends on the chunk, and only what learns nothing is called once for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from helpers.tiny import build_tiny
from torch import nn
from torch.testing import assert_close

from timechat.models import TimeChat, chunks, video_encoder
from timechat.models.chunks import chunk_slices, default_chunk, takes_chunks

CPU, GPU = torch.device("cpu"), torch.device("cuda")
VIDEOS = [torch.randint(0, 256, (n, 3, 56, 56), dtype=torch.uint8) for n in (5, 1, 7)]
SECONDS = [[0.0, 0.5, 1.0, 1.5, 1234.5], None, [100.1 * i for i in range(7)]]
FRAMES = 13


@contextmanager
def counted(model: TimeChat) -> Iterator[dict[str, list[int]]]:
    """How many frames ViT and Q-Former get in each call."""
    calls: dict[str, list[int]] = {"vit": [], "qformer": []}
    parts = {"vit": model.visual_encoder.blocks[0], "qformer": model.Qformer.bert.encoder.layer[0]}
    hooks = [
        part.register_forward_pre_hook(lambda _, args, name=name: calls[name].append(len(args[0])))
        for name, part in parts.items()
    ]
    yield calls
    for hook in hooks:
        hook.remove()


def test_chunks_have_all_frames_once_and_nearly_the_same_length() -> None:
    for frames in range(1, 40):
        for most in range(1, 45):
            parts = [range(frames)[its] for its in chunk_slices(frames, most)]
            assert [i for part in parts for i in part] == list(range(frames))
            assert len(parts) == -(-frames // most)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert chunk_slices(0, 4) == [slice(0, 0)]


def test_a_large_frame_makes_a_small_chunk_and_a_gpu_gets_more() -> None:
    assert default_chunk(10_000, CPU) > default_chunk(1_000_000, CPU) > default_chunk(10_000_000, CPU) >= 1
    assert default_chunk(3_000_000, GPU) > default_chunk(3_000_000, CPU)


@pytest.mark.parametrize("freeze_qformer", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 5, FRAMES])
def test_answers_do_not_depend_on_the_chunk(chunk: int, freeze_qformer: bool) -> None:
    """In inference ViT and Q-Former take the frames together, chunk by chunk."""
    model = build_tiny([f"model.vit_chunk={chunk}", f"model.freeze_qformer={freeze_qformer}"]).eval()
    plain = build_tiny(["model.vit_chunk=1000"]).eval()
    with torch.no_grad(), counted(model) as calls:
        found = model.encode_video(VIDEOS, SECONDS)
        for tokens, expected in zip(found, plain.encode_video(VIDEOS, SECONDS), strict=True):
            assert_close(tokens, expected, rtol=0, atol=1e-5)
    assert calls["vit"] == calls["qformer"]
    assert max(calls["vit"]) <= chunk
    assert sum(calls["vit"]) == FRAMES


@pytest.mark.parametrize(
    ("options", "vit", "qformer"),
    [
        (["model.freeze_qformer=true"], 4, 4),  # calls of each
        (["model.freeze_qformer=false"], 4, 1),
        (["model.freeze_qformer=false", "model.freeze_vit=false"], 1, 1),
    ],
)
def test_gradients_do_not_depend_on_the_chunk(options: list[str], vit: int, qformer: int) -> None:
    """What learns gets all frames in one call."""
    model, plain = (
        build_tiny([*options, f"model.vit_chunk={chunk}", "model.qformer.hidden_dropout_prob=0"]).eval()
        for chunk in (4, 1000)
    )
    with counted(model) as calls:
        for each in (model, plain):
            torch.cat(each.encode_video(VIDEOS, SECONDS)).square().mean().backward()
    assert (len(calls["vit"]), len(calls["qformer"])) == (vit, qformer)
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(expected)
    for name, gradient in expected.items():
        assert_close(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6)


def test_autocast_gives_the_same_numbers_in_chunks() -> None:
    """The tokens are cast once, in front of the Q-Former, to what its layers would make of them."""
    model, plain = (build_tiny([f"model.vit_chunk={n}", "model.freeze_qformer=false"]).eval() for n in (FRAMES, 1))
    seen = []
    model.Qformer.bert.encoder.layer[0].crossattention.self.key.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.cat(model.encode_video(VIDEOS, SECONDS))
        expected = torch.cat(plain.encode_video(VIDEOS, SECONDS))
    assert_close(found, expected, rtol=0.05, atol=0.05)
    assert seen == [torch.bfloat16]


def test_the_cast_in_front_of_the_q_former_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only keys and values are made of the tokens, and autocast would cast for each of them."""
    model, found = build_tiny(["model.freeze_qformer=false"]).eval(), []
    for cast in (video_encoder._for_autocast, lambda tokens: tokens):
        monkeypatch.setattr(video_encoder, "_for_autocast", cast)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            found.append(torch.cat(model.encode_video(VIDEOS, SECONDS)))
    assert torch.equal(*found)


class Shard(nn.Parameter):
    """In place of a DTensor, which needs processes."""


def test_weights_that_processes_gather_are_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have longer videos, and so more chunks: it would wait for this one's shards for ever."""
    monkeypatch.setattr(chunks, "DTensor", Shard)
    layers = [nn.Linear(2, 2) for _ in range(3)]
    layers[1].weight.ds_id = 0  # as DeepSpeed does
    layers[2].weight = Shard(layers[2].weight.detach())
    with torch.no_grad():
        assert [takes_chunks(layer) for layer in layers] == [True, False, False]
        assert not takes_chunks(*layers)


def test_what_learns_takes_chunks_only_without_gradients() -> None:
    layer, alone = nn.Linear(2, 2), nn.Parameter(torch.zeros(1))
    assert not takes_chunks(layer)
    assert not takes_chunks(layer.requires_grad_(False), alone)
    assert takes_chunks(layer, alone.requires_grad_(False))
    layer.requires_grad_(True)
    with torch.no_grad():
        assert takes_chunks(layer, alone)
