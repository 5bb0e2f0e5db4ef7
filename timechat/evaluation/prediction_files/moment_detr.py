"""Moment-DETR's submissions, and those of the models after it; TimeChat's fmt_*.json of highlights is one as well.

    {"qid": 2579, "query": "...", "vid": "NUsG9BgSes0_210.0_360.0",
     "pred_relevant_windows": [[0, 70, 0.93], ...], "pred_saliency_scores": [-0.25, ...]}

Windows are in seconds, the best one first; there is one score for each clip of two seconds. Either may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks.structured import Answer
from timechat.evaluation.prediction_files.predictions import (
    ID,
    QUERY,
    VIDEO,
    Form,
    Prediction,
    as_object,
    first_row,
    name_of,
    saliency_of,
    windows_of,
)

WINDOWS, SALIENCY = "pred_relevant_windows", "pred_saliency_scores"


def _read(raw: Any) -> Iterator[Prediction]:
    row = as_object(raw)
    said: list[Answer] = []
    if SALIENCY in row:
        said.append(saliency_of(row[SALIENCY], SALIENCY))
    if WINDOWS in row:
        said.append(windows_of(row[WINDOWS], WINDOWS))
    if not said:
        raise PredictionError(f"neither {WINDOWS} nor {SALIENCY}; a submission has one of them, or both")
    yield Prediction(tuple(said), name_of(row, ("qid", *ID)), name_of(row, ("vid", *VIDEO)), name_of(row, QUERY))


FORM = Form(
    lambda content: bool({WINDOWS, SALIENCY} & first_row(content).keys()), lambda document: document.rows(), _read
)
