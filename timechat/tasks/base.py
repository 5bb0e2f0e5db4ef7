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

_MEASURED = {"sample_losses": "loss", "sample_exact": "exact"}  # what a model returns -> its name in scores


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
        return self.measure(model, batch)["loss"].mean()

    def measure(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What is known of each sample, [B] each: `loss`, which training minimises, and what else validation reports.

        In evaluation mode TimeChat adds `exact`: 1 where each token of the answer is the most likely one after the true
        tokens before it.
        """
        return {_MEASURED[name]: values for name, values in model(batch).items() if name in _MEASURED}
