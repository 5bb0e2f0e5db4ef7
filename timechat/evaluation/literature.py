"""Published scores, from `literature.yaml`, for comparison with one's own."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import TypedDict, cast

from omegaconf import DictConfig, OmegaConf

from timechat.config import plain

FILE = Path(__file__).with_name("literature.yaml")


class Published(TypedDict):
    """One row of a table of published scores.

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
    """What others reported on a benchmark; empty where nothing is listed."""
    return copy.deepcopy(_tables().get(benchmark, []))


@functools.cache
def _tables() -> dict[str, list[Published]]:
    """Of all benchmarks; read once, since each report of a run asks."""
    return plain(cast(DictConfig, OmegaConf.load(FILE)))
