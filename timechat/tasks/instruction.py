"""The main task: learn to answer instructions about videos and images."""

from __future__ import annotations

from collections.abc import Sequence

from timechat.batch import VideoBatch
from timechat.datasets import collate
from timechat.datasets.collate import Fetched
from timechat.datasets.instruction import InstructionSample
from timechat.registry import registry
from timechat.tasks.base import Task


@registry.register_task("image_text_pretrain")
@registry.register_task("video_text_pretrain")
class InstructionTask(Task):
    """Conversations about videos. Published configs know it under two names."""

    takes = InstructionSample

    def collate(self, fetched: Sequence[Fetched[InstructionSample]]) -> VideoBatch:
        """Conversations padded to the longest."""
        return collate(fetched)
