"""The main task: learn to answer instructions about videos and images."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig
from torch import nn

from timechat.batch import VideoBatch
from timechat.datasets import collate
from timechat.datasets.collate import Fetched
from timechat.datasets.instruction import InstructionDataset, Sample
from timechat.models import build_model
from timechat.registry import registry
from timechat.tasks.base import Task


@registry.register_task("image_text_pretrain")
@registry.register_task("video_text_pretrain")
class InstructionTask(Task):
    """Conversations about videos. Published configs know it under two names."""

    takes = Sample

    def build_model(
        self, cfg: DictConfig, datasets: Sequence[InstructionDataset], load_weights: bool = True
    ) -> nn.Module:
        """The model of a config; `load_weights=False` reads no weight file."""
        return build_model(cfg.model, load_weights)

    def collate(self, fetched: Sequence[Fetched]) -> VideoBatch:
        """Conversations padded to the longest."""
        return collate(fetched)
