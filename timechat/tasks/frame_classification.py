"""The first lessons of a model that is trained from nothing: which words describe a frame?"""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig
from torch import nn

from timechat.batch import FrameBatch
from timechat.datasets import collate_frames
from timechat.datasets.collate import Fetched
from timechat.datasets.events import FrameWordsDataset, FrameWordsSample
from timechat.errors import ConfigError
from timechat.models import FrameClassifier, FrameReader
from timechat.registry import registry
from timechat.tasks.base import Task


@registry.register_task("frame_classification")
class FrameClassificationTask(Task):
    """Frames and the words of their captions; trains what comes before the decoder."""

    takes = FrameWordsSample

    def build_model(
        self, cfg: DictConfig, datasets: Sequence[FrameWordsDataset], load_weights: bool = True
    ) -> nn.Module:
        """The classifier. Raises ConfigError: another model, no dataset, or captions of other words in some."""
        if not datasets:
            raise ConfigError("datasets: the words of a frame_classification run come from them, but none can be read")
        model_class = registry.get_model_class(cfg.model.arch)
        if not issubclass(model_class, (FrameClassifier, FrameReader)):
            raise ConfigError(
                f"model.arch={cfg.model.arch}: run.task={cfg.run.task} trains frame_classifier or frame_reader"
            )
        first, *others = (dataset.vocabulary for dataset in datasets)
        if any(vocabulary != first for vocabulary in others):
            raise ConfigError("datasets: the captions of a frame_classification run must all have the same words")
        return model_class(cfg.model, num_words=len(first), load_weights=load_weights)

    def build_validation_datasets(self, cfg: DictConfig) -> list[FrameWordsDataset]:
        """None: other captions have other words. Raises ConfigError."""
        raise ConfigError(f"run.valid_splits={list(cfg.run.valid_splits)}: run.task={cfg.run.task} has no validation")

    def collate(self, fetched: Sequence[Fetched]) -> FrameBatch:
        """Frames one after the other."""
        return collate_frames(fetched)
