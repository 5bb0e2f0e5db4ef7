"""The benchmarks, one small file each; `get_benchmark` makes one by name."""

from __future__ import annotations

from typing import Any

from timechat.evaluation.benchmarks import (
    activitynet_captions,
    activitynet_grounding,
    charades_sta,
    egoschema,
    mvbench,
    qvhighlights,
    tempcompass,
    video_mme,
    youcook2,
)
from timechat.evaluation.benchmarks.base import Benchmark, Example, Failure, Question, Result
from timechat.registry import registry
from timechat.schema import group_of

__all__ = [
    "Benchmark",
    "Example",
    "Failure",
    "Question",
    "Result",
    "activitynet_captions",
    "activitynet_grounding",
    "charades_sta",
    "egoschema",
    "get_benchmark",
    "mvbench",
    "qvhighlights",
    "tempcompass",
    "video_mme",
    "youcook2",
]


def get_benchmark(name: str, **settings: Any) -> Benchmark:
    """The benchmark of that name, by default with the defaults of its schema.

    Args:
        name: in the registry.
        settings: keys of its schema.

    Raises:
        RegistryError: an unknown name.
    """
    defaults = group_of(registry.config_of("benchmark", name)).defaults()
    return registry.get_benchmark_class(name)(**{**defaults, **settings})
