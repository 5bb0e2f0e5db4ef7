"""Keys of the quick start's models besides TimeChat's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.models.config import TimeChatConfig
from timechat.schema import key


@dataclass
class SmallConfig(TimeChatConfig):
    """A model that begins with random weights and is small."""

    initialization: str = key(
        "published",
        "how weights that no file gives begin: published (normal, deviation 0.02) | fan_in (matrices normal with a "
        "deviation of one over the root of their inputs, queries and embeddings of 1), with which small models learn",
        choices=("published", "fan_in"),
    )


@dataclass
class WordsConfig(SmallConfig):
    """A model that says which words describe frames; LLaMA's keys do not count."""

    num_words: int = key(1, "how many words the captions tell apart", least=1)


@dataclass
class ClassifierConfig(WordsConfig):
    """The frame encoder alone, which has to learn."""

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """As above, and a frozen encoder."""
        yield from super().conflicts(where, section, cfg)
        if section.freeze_vit or section.vit_precision != "fp32":
            yield f"{where}.arch={section.arch} trains the ViT: set freeze_vit=false and vit_precision=fp32"
