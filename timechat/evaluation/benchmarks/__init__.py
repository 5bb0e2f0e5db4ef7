"""The benchmarks, one small file each; `get_benchmark` makes one by name."""

from __future__ import annotations

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


def get_benchmark(name: str, **settings: str) -> Benchmark:
    """The benchmark of that name, with settings of its own where it has any. Raises RegistryError."""
    return registry.get_benchmark_class(name)(**settings)
