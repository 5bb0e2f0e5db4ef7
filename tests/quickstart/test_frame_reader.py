"""The Q-Formers that learn to read frames: what is asked of each token, what is learned, what TimeChat takes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import build_tiny, tiny_config

from quickstart.batch import FrameBatch
from quickstart.frame_reader import PLACES, FrameReader, digits_of
from timechat.models.checkpoints import part_of, trainable_state_dict

BASE = (
    "model.arch=frame_reader",
    "model.num_words=3",
    "model.freeze_qformer=false",
    "model.ckpt=",
    "model.vit.depth=1",
)
FAN_IN = "model.initialization=fan_in"


def reader(*options: str) -> FrameReader:
    """A tiny one for three words, by default with random weights."""
    return FrameReader(tiny_config([*BASE, *options]).model)


def windows(size: int, tokens: int) -> tuple[str, ...]:
    """The options for windows of `size` frames that do not overlap, with `tokens` tokens each."""
    return (f"model.window_size={size}", f"model.stride={size or 1}", f"model.num_video_query_token={tokens}")


def batch(counts: tuple[int, ...] = (2, 3)) -> FrameBatch:
    """Dark frames that the first word describes, and bright ones that the second describes, in turn."""
    bright = torch.arange(sum(counts)) % 2
    frames = (40 + 170 * bright).byte()[:, None, None, None].expand(-1, 3, 56, 56).contiguous()
    seconds = [[1.5 * i for i in range(count)] for count in counts]
    return FrameBatch(frames, list(counts), seconds, F.one_hot(bright, 3).float())


def test_digits_of_a_time() -> None:
    """207.4 seconds: 2, 0, 7 and 4; beyond 999.9 the thousands are left out, and times are rounded to tenths."""
    digits = digits_of([207.4, 1012.0, 0.96], torch.zeros(1))
    assert digits.shape == (3, 10 * PLACES)
    assert digits.view(3, PLACES, 10).argmax(dim=2).tolist() == [[2, 0, 7, 4], [0, 1, 2, 0], [0, 0, 1, 0]]
    assert digits.sum(dim=1).tolist() == [PLACES] * 3
    assert digits_of([], torch.zeros(1)).shape == (0, 10 * PLACES)


@pytest.mark.parametrize(
    ("size", "tokens", "frames_of_tokens"),
    [
        (2, 2, [{0}, {1}, {2}, set()]),  # three frames: the last window is short
        (2, 1, [{0, 1}, {2}]),
        (2, 4, [{0}, {0}, {1}, {1}, {2}, {2}, set(), set()]),
        (4, 2, [{0, 1}, {2}]),
        (0, 8, [{0}, {1}, {2}, set(), set(), set(), set(), set()]),  # one window, max_frame_pos=8
    ],
)
def test_the_frames_of_each_token(size: int, tokens: int, frames_of_tokens: list[set[int]]) -> None:
    """Each frame has a different word, so that the targets identify the frames; no frame, no digit."""
    model = reader(*windows(size, tokens), "model.max_frame_pos=8")
    data = FrameBatch(torch.zeros(3, 3, 56, 56, dtype=torch.uint8), [3], [[0.0, 1.0, 2.0]], torch.eye(3))
    (targets,) = model.targets(data)
    assert [set(row.nonzero().flatten().tolist()) for row in targets[:, :3]] == frames_of_tokens
    assert [bool(row.any()) for row in targets[:, 3:]] == [bool(frames) for frames in frames_of_tokens]
    assert [scores.shape for scores in model.logits(data)] == [targets.shape]


def test_the_loss_sums_over_outputs_and_averages_over_tokens() -> None:
    model, data = reader(*windows(2, 2)).eval(), batch()
    with torch.no_grad():
        out, scores = model(data), [scores.sigmoid() for scores in model.logits(data)]
    losses = [
        -(t * p.log() + (1 - t) * (1 - p).log()).sum(dim=1) for t, p in zip(model.targets(data), scores, strict=True)
    ]
    assert [len(video) for video in losses] == [2, 4]
    torch.testing.assert_close(out["loss"], torch.cat(losses).mean())
    torch.testing.assert_close(out["sample_losses"], torch.stack([video.mean() for video in losses]))


def test_it_learns_what_frames_show_and_when() -> None:
    torch.manual_seed(0)
    model, data = reader(*windows(2, 2), FAN_IN).train(), batch((2, 2, 3))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(data)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        said, true = torch.cat(model.eval().logits(data)) > 0, torch.cat(model.targets(data)).bool()
    assert (said == true).float().mean() > 0.99


def test_timechat_takes_the_q_formers_from_its_checkpoint(tmp_path: Path) -> None:
    """And nothing for the decoder and the projection before it, which it has none of."""
    model = reader("model.freeze_vit=false")
    state = trainable_state_dict(model)
    torch.save({"model": state}, tmp_path / "reader.pth")
    taken = build_tiny([*BASE[2:], "model.arch=timechat", f"model.ckpt={tmp_path / 'reader.pth'}"])
    weights = taken.state_dict()
    ours = {name: tensor for name, tensor in state.items() if part_of(name)}
    assert {part_of(name) for name in ours} == {
        *("visual_encoder", "ln_vision", "Qformer", "query_tokens"),
        *("video_Qformer", "video_query_tokens", "video_frame_position_embedding"),
    }
    assert all(torch.equal(tensor, weights[name]) for name, tensor in ours.items())
    assert sorted(taken.load_reports[0].foreign) == ["readout.bias", "readout.weight"]


def test_it_begins_with_a_whole_timechat_and_leaves_its_decoder(tmp_path: Path) -> None:
    state = build_tiny([*BASE[2:], "model.arch=timechat"]).state_dict()
    torch.save({"model": state}, tmp_path / "whole.pth")
    model = reader(f"model.ckpt={tmp_path / 'whole.pth'}")
    unused = model.load_reports[0].unused
    assert {part_of(name) for name in unused} == {"llama_model", "LoRA", "llama_proj"}
    assert torch.equal(model.video_query_tokens, state["video_query_tokens"])
