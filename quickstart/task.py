"""The first lesson of a model that is trained from scratch: which words describe a frame?"""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from quickstart.batch import FrameBatch, collate_frames
from quickstart.frame_classifier import FrameClassifier
from quickstart.frame_reader import FrameReader
from quickstart.lessons import FrameWordsDataset, FrameWordsSample
from timechat.datasets.base import VideoDataset
from timechat.datasets.collate import Fetched
from timechat.errors import ConfigError
from timechat.models import BaseModel
from timechat.registry import registry
from timechat.tasks.base import Task


@registry.register_task("frame_classification")
class FrameClassificationTask(Task):
    """Learn to predict the words that describe frames; trains the modules before the decoder."""

    takes = FrameWordsSample

    def build_model(self, cfg: DictConfig, load_weights: bool = True) -> BaseModel:
        """The frame classifier or frame reader. Raises ConfigError: another model."""
        if not issubclass(registry.get_model_class(cfg.model.arch), (FrameClassifier, FrameReader)):
            raise ConfigError(
                f"model.arch={cfg.model.arch}: run.task={cfg.run.task} trains frame_classifier or frame_reader"
            )
        return super().build_model(cfg, load_weights)

    def build_datasets(self, cfg: DictConfig) -> list[VideoDataset]:
        """The datasets of a config. Raises ConfigError: their words differ, or are not as many as the model's."""
        datasets = super().build_datasets(cfg)
        vocabularies = [dataset.vocabulary for dataset in datasets if isinstance(dataset, FrameWordsDataset)]
        if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
            raise ConfigError("datasets: the captions of a frame_classification run must all have the same words")
        if vocabularies and cfg.model.get("num_words") not in (None, len(vocabularies[0])):
            raise ConfigError(
                f"model.num_words={cfg.model.num_words}: {len(vocabularies[0])} words distinguish the captions; set "
                f"model.num_words={len(vocabularies[0])}"
            )
        return datasets

    def build_validation_datasets(self, cfg: DictConfig) -> list[VideoDataset]:
        """Not supported, because other captions have other words. Raises ConfigError."""
        raise ConfigError(f"run.valid_splits={list(cfg.run.valid_splits)}: run.task={cfg.run.task} has no validation")

    def collate(self, fetched: Sequence[Fetched[FrameWordsSample]]) -> FrameBatch:
        """Pack the frames of all samples."""
        return collate_frames(fetched)
