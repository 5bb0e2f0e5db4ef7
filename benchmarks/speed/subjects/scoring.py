"""Scores of made-up answers: as many as Charades-STA has queries, and dense captions of some hundred videos."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.speed.measure import Patience, Timing, in_child, median, timed
from benchmarks.speed.rows import Comparison, Cost, Row, compare
from benchmarks.speed.sizes import Bench
from timechat.evaluation.metrics import score_grounding
from timechat.evaluation.metrics.captions import Meteor
from timechat.evaluation.metrics.dense_captioning import score_dense_captions
from timechat.evaluation.parsing import parse_grounding

QUERIES, VIDEOS, EVENTS = 3720, 100, 6
WORDS = [
    "a",
    "person",
    "the",
    "cook",
    "cuts",
    "adds",
    "opens",
    "closes",
    "stirs",
    "bread",
    "door",
    "pan",
    "onion",
    "butter",
    "slowly",
    "and",
    "then",
    "with",
    "into",
    "box",
]


def scoring(bench: Bench, patience: Patience) -> Iterator[Row]:
    """Intervals are parsed from text; captions are scored with METEOR, whose process has started."""
    yield compare(f"parse and score {QUERIES} intervals", _intervals, patience)
    outcome = in_child(partial(_captions, patience), patience.threads)
    note = "SODA_c, CIDEr, METEOR; processor time with METEOR's Java process, memory without it"
    yield Row(f"score {VIDEOS} x {EVENTS} dense captions", Cost(*outcome.value, outcome.peak), note=note)


def _intervals() -> Comparison:
    rng = np.random.default_rng(0)
    starts, ends = rng.uniform(0, 20, (2, QUERIES)), rng.uniform(21, 40, (2, QUERIES))
    texts = [f"The event happens in {a:.1f} - {b:.1f} seconds." for a, b in zip(starts[0], ends[0], strict=True)]
    rows = [{"id": str(n), "timestamp": [a, b]} for n, (a, b) in enumerate(zip(starts[1], ends[1], strict=True))]

    def this() -> None:
        predictions = {str(n): {"timestamp": parse_grounding(text)} for n, text in enumerate(texts)}
        score_grounding(predictions, {"annotations": rows})

    return Comparison({"this": this})


def _captions(patience: Patience) -> Timing:
    """Other words in each run, because METEOR's scores of a pair are remembered."""
    rng = np.random.default_rng(0)

    def sentence() -> str:
        return " ".join(rng.choice(WORDS, 9))

    def events() -> list[dict[str, Any]]:
        starts = np.sort(rng.uniform(0, 60, EVENTS)).tolist()
        return [{"timestamp": [start, start + 8.0], "caption": sentence()} for start in starts]

    def truth(video: int) -> dict[str, Any]:
        true = events()
        segments = [event["timestamp"] for event in true]
        return {"image_id": str(video), "segments": segments, "captions": [event["caption"] for event in true]}

    runs = []
    with Meteor() as meteor:
        meteor.segment_scores([("a cat sleeps", "a cat sleeps")])
        for _ in range(patience.least):
            predictions = {str(video): events() for video in range(VIDEOS)}
            annotations = {"annotations": [truth(video) for video in range(VIDEOS)]}
            runs.append(timed(partial(score_dense_captions, predictions, annotations, meteor)))
    return median(runs)
