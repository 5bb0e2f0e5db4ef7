"""From annotation and video files to batches."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timechat.datasets.builders import build_datasets, validation_config
    from timechat.datasets.collate import StreamDataset
    from timechat.datasets.sampler import RankBatches, SampleStream

__all__ = ["RankBatches", "SampleStream", "StreamDataset", "build_datasets", "validation_config"]

_HOMES = {
    "RankBatches": "timechat.datasets.sampler",
    "SampleStream": "timechat.datasets.sampler",
    "StreamDataset": "timechat.datasets.collate",
    "build_datasets": "timechat.datasets.builders",
    "validation_config": "timechat.datasets.builders",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the process that reads videos does without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
