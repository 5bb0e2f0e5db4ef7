"""The main task: learn to answer instructions about videos and images."""

from __future__ import annotations

from collections.abc import Sequence

from timechat.batch import VideoBatch
from timechat.datasets.collate import Fetched, collate
from timechat.datasets.instruction import InstructionSample
from timechat.registry import registry
from timechat.tasks.base import Task


@registry.register_task("image_text_pretrain")
@registry.register_task("video_text_pretrain")
class InstructionTask(Task):
    """Conversations about videos, under both names of the published configs."""

    takes = InstructionSample

    def collate(self, fetched: Sequence[Fetched[InstructionSample]]) -> VideoBatch:
        """Pack conversations, padded to the longest."""
        return collate(fetched)
