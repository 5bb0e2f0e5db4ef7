"""Frames to the decoder's embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.eager import EagerTimeChat
from benchmarks.speed.measure import Patience
from benchmarks.speed.rows import Comparison, Floor, Row, compare
from benchmarks.speed.sizes import Bench, videos
from timechat.models import TimeChat
from timechat.models.flops import TimeChatFlops


def forward_flops(model: TimeChat) -> TimeChatFlops:
    """A counter of the forward pass alone; afterwards nothing of the model learns."""
    model.requires_grad_(False)
    return TimeChatFlops(model)


def encode(bench: Bench, patience: Patience) -> Iterator[Row]:
    """The videos of a batch, as for answering."""
    frames = " + ".join(map(str, bench.size.frames))
    yield compare(f"encode, {frames} frames", partial(_prepare, bench), patience)


def _prepare(bench: Bench) -> Comparison:
    model = bench.model()
    frames, seconds = videos(bench.size.frames, model.cfg.image_size)
    flops = forward_flops(model).video(list(bench.size.frames), seconds)
    eager = EagerTimeChat(model)

    def this() -> None:
        with torch.no_grad():
            model.encode_video(frames, seconds)

    def reference() -> None:
        with torch.no_grad():
            eager.encode_video(frames, seconds)

    return Comparison({"this": this, "eager": reference}, Floor(flops))
