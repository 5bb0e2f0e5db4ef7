"""The interface of tasks: a task builds model and datasets, packs samples, and defines the training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.batch import Batch
from timechat.datasets import build_datasets, validation_config
from timechat.datasets.base import VideoDataset
from timechat.datasets.collate import Fetched
from timechat.errors import ConfigError
from timechat.models import BaseModel, build_model


class Task(ABC):
    """Base of all tasks; each run creates one.

    Args:
        cfg: the whole config.

    Attributes:
        takes: the class of the samples that it can use.
    """

    takes: ClassVar[type]

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg

    @abstractmethod
    def collate(self, fetched: Sequence[Fetched[Any]]) -> Batch:
        """Pack the samples of a micro-batch."""

    def build_model(self, cfg: DictConfig, load_weights: bool = True) -> BaseModel:
        """The model of a config; `load_weights=False` reads no weight file."""
        return build_model(cfg.model, load_weights)

    def build_datasets(self, cfg: DictConfig) -> list[VideoDataset]:
        """The datasets of a config. Raises ConfigError: one of them makes samples for another task."""
        datasets = build_datasets(cfg)
        for dataset in datasets:
            if not issubclass(dataset.makes, self.takes):
                raise ConfigError(
                    f"datasets.{dataset.name}.builder={cfg.datasets[dataset.name].builder} does not fit "
                    f"run.task={cfg.run.task}; change one of them"
                )
        return datasets

    def build_validation_datasets(self, cfg: DictConfig) -> list[VideoDataset]:
        """The datasets of a config that name validation data, without augmentation. Raises ConfigError."""
        return self.build_datasets(validation_config(cfg))

    def train_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a micro-batch: the mean of its samples' losses.

        Averaged over processes and micro-batches it is the mean over the global batch, whichever rank has which sample.
        """
        return self.sample_losses(model, batch).mean()

    def sample_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of each sample, [B]."""
        return model(batch)["sample_losses"]
