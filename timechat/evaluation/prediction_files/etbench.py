"""E.T. Bench's own form: its samples, in one list, with an answer `a` each.

[{"task": "tvg", "source": "qvhighlights", "idx": 0, "video": "...", "q": "...", "a": "The event happens in ..."}]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.prediction_files.documents import shown
from timechat.evaluation.prediction_files.predictions import (
    VIDEO,
    Form,
    Prediction,
    as_object,
    first_row,
    name_of,
    text_of,
)

ANSWER = "a"
PLACE = ("task", "source", "idx")


def _fits(content: Any) -> bool:
    return {*PLACE, ANSWER} <= first_row(content).keys()


def _read(raw: Any) -> Iterator[Prediction]:
    row = as_object(raw)
    missing = [field for field in (*PLACE, ANSWER) if field not in row]
    if missing:
        raise PredictionError(f"no {', '.join(missing)} in {shown(dict(row))}; every sample has them")
    key = "/".join(str(row[field]) for field in PLACE)
    yield Prediction((text_of(row[ANSWER], ANSWER),), key, name_of(row, VIDEO), name_of(row, ("q",)))


FORM = Form(_fits, lambda document: document.rows(), _read)
