"""Temporal grounding of the lab's moments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from my_lab.moments import read_moments
from timechat.evaluation.benchmarks.annotations import Row, check_rows
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.registry import registry
from timechat.schema import Section, key


@dataclass
class MyBenchConfig(Section):
    """The benchmark's own option."""

    min_seconds: float = key(0.0, "leave out shorter moments", least=0)


@registry.register_benchmark("my_bench", config=MyBenchConfig)
class MyBench(TemporalGrounding):
    """One question for each moment, scored as every grounding benchmark is."""

    prompt_file = str(Path(__file__).with_name("prompt.txt"))

    def __init__(self, min_seconds: float):
        self.min_seconds = min_seconds

    def read(self, anno_path: str | Path) -> list[Row]:
        """The moments, as rows in coco form. Raises AnnotationError."""
        rows = [
            {"id": number, "image_id": moment.video, "caption": moment.event, "timestamp": [moment.start, moment.end]}
            for number, moment in enumerate(read_moments(anno_path, self.min_seconds))
        ]
        return check_rows(anno_path, [(f"moment {row['id']}", row) for row in rows], coco_problems, self.row_id)
