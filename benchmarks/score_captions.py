"""How long dense captions take to score: 104 real predictions, four times over.

    python benchmarks/score_captions.py

METEOR's start (its Java process reads tables for several seconds) is timed apart.
"""

from __future__ import annotations

import copy
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from timechat.evaluation.metrics.captions import Meteor
from timechat.evaluation.metrics.dense_captioning import score_dense_captions

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "metrics"
TIMES_OVER = 4
FLOOR_SECONDS = 15.0


def read(name: str) -> Any:
    """A file of the golden set."""
    with gzip.open(GOLDEN / name, "rt", encoding="utf-8") as file:
        return json.load(file)


def repeated(predictions: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Predictions and ground truth with every video several times, under new names."""
    many, truth = {}, []
    for number in range(TIMES_OVER):
        many |= {f"{number}_{name}": events for name, events in predictions.items()}
        for row in rows:
            truth.append({**copy.deepcopy(row), "image_id": f"{number}_{row['image_id']}"})
    return many, {"annotations": truth}


def main() -> int:
    """Print the seconds; the exit status is 1 when scoring takes longer than the floor."""
    predictions, ground_truth = read("dvc_pred.json.gz"), read("val.dvc_gt.json.gz")
    rows = [row for row in ground_truth["annotations"] if row["image_id"] in predictions]
    many, truth = repeated(predictions, rows)
    with Meteor() as meteor:
        started = time.perf_counter()
        meteor.start()
        meteor.segment_scores([("a cat sleeps", "a cat sleeps")])
        ready = time.perf_counter()
        scores = score_dense_captions(many, truth, meteor)
        done = time.perf_counter()
    scoring = done - ready
    sys.stdout.write(
        f"{len(many)} videos: start {ready - started:.1f} s, scoring {scoring:.1f} s (floor {FLOOR_SECONDS:.0f} s), "
        f"SODA_c {100 * scores['SODA_c']:.2f}\n"
    )
    return int(scoring > FLOOR_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
