"""From samples to a batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.eager import normalised
from benchmarks.speed.measure import Patience
from benchmarks.speed.rows import Comparison, Floor, Row, compare
from benchmarks.speed.sizes import Bench, videos
from timechat.batch import pad_conversations
from timechat.datasets.collate import Fetched, collate
from timechat.datasets.instruction import InstructionSample

SAMPLES = 4


def collating(bench: Bench, patience: Patience) -> Iterator[Row]:
    """Several samples; the reference normalises their frames on the CPU, as the published processors do."""
    count, side = bench.size.frames[0], bench.size.model.get("image_size", 224)
    note = "frames travel as bytes here and are normalised in the model; the reference makes floats of them"
    yield compare(f"collate {SAMPLES} x {count} frames", partial(_prepare, count, side), patience, note)


def _prepare(count: int, side: int) -> Comparison:
    frames, seconds = videos([count] * SAMPLES, side)
    ids = list(range(600))
    samples = [InstructionSample(*video, ids, ids, "clip") for video in zip(frames, seconds, strict=True)]

    def this() -> None:
        collate([Fetched(sample) for sample in samples])

    def reference() -> None:
        torch.stack([normalised(sample.frames) for sample in samples])
        pad_conversations([(sample.input_ids, sample.labels) for sample in samples], 0)

    return Comparison({"this": this, "eager": reference}, Floor(read=float(sum(video.numel() for video in frames))))
