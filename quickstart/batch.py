"""The batch of the first two stages: frames and the words that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from quickstart.lessons import FrameWordsSample
from timechat.batch import Batch
from timechat.datasets.collate import Fetched, notes_of


@dataclass
class FrameBatch(Batch):
    """Frames and the words that describe them.

    Attributes:
        seconds: the time in seconds of each frame of each video.
        words: float [F, W], 1 where a word describes a frame.
    """

    seconds: list[Sequence[float]]
    words: torch.Tensor


def collate_frames(fetched: Sequence[Fetched[FrameWordsSample]]) -> FrameBatch:
    """Pack frames with their words; skipped samples make the batch shorter, possibly empty."""
    samples = [f.sample for f in fetched if f.sample is not None]
    return FrameBatch(
        frames=torch.cat([sample.frames for sample in samples]) if samples else torch.empty(0, 3, 0, 0),
        frame_counts=[len(sample.frames) for sample in samples],
        seconds=[sample.seconds for sample in samples],
        words=torch.cat([sample.words for sample in samples]) if samples else torch.empty(0, 0),
        **notes_of(fetched),
    )
