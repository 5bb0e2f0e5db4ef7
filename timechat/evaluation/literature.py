"""Scores that others published, from `literature.yaml`, to stand beside one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from omegaconf import OmegaConf

FILE = Path(__file__).with_name("literature.yaml")


class Published(TypedDict):
    """One row of a table of the literature.

    Attributes:
        model: and which weights of it, where there are several.
        setting: zero-shot, fine-tuned on that dataset, ...
        scores: name -> percent; the names are those of records of evaluations.
        source: who reported it.
    """

    model: str
    setting: str
    scores: dict[str, float]
    source: str


def published_scores(benchmark: str) -> list[Published]:
    """What others reported on a benchmark; empty for one that the literature does not know."""
    return OmegaConf.to_container(OmegaConf.load(FILE)).get(benchmark, [])  # type: ignore[union-attr, return-value]
