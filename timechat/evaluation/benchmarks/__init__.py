"""The benchmarks, one small file each; `get_benchmark` finds one by name."""

from __future__ import annotations

from timechat.errors import ConfigError
from timechat.evaluation.benchmarks.activitynet_captions import ActivityNetCaptions
from timechat.evaluation.benchmarks.activitynet_grounding import ActivityNetGrounding
from timechat.evaluation.benchmarks.base import Benchmark, Example, Failure, Question, Result
from timechat.evaluation.benchmarks.charades_sta import CharadesSTA
from timechat.evaluation.benchmarks.egoschema import EgoSchema
from timechat.evaluation.benchmarks.mvbench import MVBench
from timechat.evaluation.benchmarks.qvhighlights import QVHighlights
from timechat.evaluation.benchmarks.tempcompass import TempCompass
from timechat.evaluation.benchmarks.video_mme import VideoMME
from timechat.evaluation.benchmarks.youcook2 import YouCook2
from timechat.registry import nearest

__all__ = ["BENCHMARKS", "Benchmark", "Example", "Failure", "Question", "Result", "get_benchmark"]

BENCHMARKS: dict[str, type[Benchmark]] = {
    cls.name: cls
    for cls in (
        CharadesSTA,
        ActivityNetGrounding,
        QVHighlights,
        YouCook2,
        ActivityNetCaptions,
        MVBench,
        TempCompass,
        EgoSchema,
        VideoMME,
    )
}


def get_benchmark(name: str, **settings: str) -> Benchmark:
    """The benchmark of that name, with settings of its own where it has any. Raises ConfigError."""
    if name not in BENCHMARKS:
        known = sorted(BENCHMARKS)
        raise ConfigError(f"unknown benchmark {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return BENCHMARKS[name](**settings)
