"""The benchmarks, one small file each; `get_benchmark` makes one by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timechat.evaluation.benchmarks import (
    activitynet_captions,
    activitynet_grounding,
    charades_sta,
    consistency,
    ego4d_nlq,
    egoschema,
    etbench,
    longvideobench,
    mlvu,
    mvbench,
    nextgqa,
    qvhighlights,
    rextime,
    summe,
    tacos,
    tempcompass,
    timelens,
    tvsum,
    video_mme,
    youcook2,
)
from timechat.evaluation.benchmarks.annotations import Annotations
from timechat.evaluation.benchmarks.contract import Benchmark, Example, Failure, Question, Result
from timechat.evaluation.benchmarks.options import complete_options
from timechat.registry import registry

__all__ = [
    "Annotations",
    "Benchmark",
    "Example",
    "Failure",
    "Question",
    "Result",
    "activitynet_captions",
    "activitynet_grounding",
    "charades_sta",
    "consistency",
    "ego4d_nlq",
    "egoschema",
    "etbench",
    "get_benchmark",
    "longvideobench",
    "mlvu",
    "mvbench",
    "nextgqa",
    "qvhighlights",
    "rextime",
    "summe",
    "tacos",
    "tempcompass",
    "timelens",
    "tvsum",
    "video_mme",
    "youcook2",
]


def get_benchmark(name: str, options: Mapping[str, Any] | None = None) -> Benchmark:
    """The benchmark of that name.

    Args:
        options: its own ones, see the schema that it is registered with; those left out are at their defaults.

    Raises:
        RegistryError: no such benchmark.
        ConfigError: an option that it does not have, or a value that it does not take.
    """
    return registry.get_benchmark_class(name)(**complete_options(name, options or {}))
