"""From annotation and video files to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timechat.lazy import lazy_names

if TYPE_CHECKING:
    from timechat.datasets.builders import build_datasets, validation_config
    from timechat.datasets.collate import StreamDataset, stream_of
    from timechat.datasets.sampler import RankBatches, SampleStream

__all__ = ["RankBatches", "SampleStream", "StreamDataset", "build_datasets", "stream_of", "validation_config"]

# The process that reads videos does without torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "RankBatches": "timechat.datasets.sampler",
        "SampleStream": "timechat.datasets.sampler",
        "StreamDataset": "timechat.datasets.collate",
        "stream_of": "timechat.datasets.collate",
        "build_datasets": "timechat.datasets.builders",
        "validation_config": "timechat.datasets.builders",
    },
)
