"""Keys that the quick start's models have in addition to TimeChat's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.models.config import TimeChatConfig
from timechat.schema import key


@dataclass
class SmallConfig(TimeChatConfig):
    """A small model with random initial weights."""

    initialization: str = key(
        "published",
        "initial weights without a file: published (normal, standard deviation 0.02) | fan_in (matrices: standard "
        "deviation one over the root of their inputs, query tokens and embeddings: 1), for small models",
        choices=("published", "fan_in"),
    )


@dataclass
class WordsConfig(SmallConfig):
    """A model that predicts which words describe frames; LLaMA's keys have no effect."""

    num_words: int = key(1, "number of words that distinguish captions", least=1)


@dataclass
class ClassifierConfig(WordsConfig):
    """The frame encoder alone, which must be trained."""

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """As for the base class; also a frozen encoder."""
        yield from super().conflicts(where, section, cfg)
        if section.freeze_vit or section.vit_precision != "fp32":
            yield f"{where}.arch={section.arch} trains the ViT: set freeze_vit=false and vit_precision=fp32"
