"""From annotation and video files to batches."""

from __future__ import annotations

from timechat.datasets import processors
from timechat.datasets.builders import build_datasets, validation_config
from timechat.datasets.collate import StreamDataset, collate
from timechat.datasets.sampler import RankBatches, SampleStream

__all__ = [
    "RankBatches",
    "SampleStream",
    "StreamDataset",
    "build_datasets",
    "collate",
    "processors",
    "validation_config",
]
