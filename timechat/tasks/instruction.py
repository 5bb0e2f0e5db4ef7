"""The one task there is: learn to answer instructions about videos and images."""

from __future__ import annotations

from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.batch import VideoBatch
from timechat.datasets import build_datasets
from timechat.datasets.instruction import InstructionDataset
from timechat.models import build_model
from timechat.registry import registry


@registry.register_task("image_text_pretrain")
@registry.register_task("video_text_pretrain")
class InstructionTask:
    """Says what is trained on what, and what one step is. Published configs know it under two names."""

    def build_model(self, cfg: DictConfig) -> nn.Module:
        """The model of a config, weights loaded."""
        return build_model(cfg.model)

    def build_datasets(self, cfg: DictConfig) -> list[InstructionDataset]:
        """The datasets of a config."""
        return build_datasets(cfg)

    def train_step(self, model: nn.Module, batch: VideoBatch) -> Tensor:
        """The loss of a micro-batch: the mean of its samples' losses.

        Averaged over processes and micro-batches it is the mean over the global batch, however samples fall on ranks.
        """
        return model(batch)["sample_losses"].mean()
