"""TempCompass's own form, its questions with a `prediction` each: one file per task, named as the task's questions are.

multi-choice.json: {"1021488277": {"action": [{"question": "...", "answer": "A. ...", "prediction": "A"}]}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.prediction_files.documents import Document, shown
from timechat.evaluation.prediction_files.predictions import Form, Prediction, as_object, first_row, name_of, text_of

PREDICTION = "prediction"


def _fits(content: Any) -> bool:
    video = next(iter(content.values()), None) if isinstance(content, dict) else None
    rows = next(iter(video.values()), None) if isinstance(video, Mapping) else None
    return PREDICTION in first_row(rows)


def _entries(document: Document) -> Iterable[tuple[str, tuple[str, Any]]]:
    task = PurePath(document.name).stem
    for where, (video, dimensions) in document.items():
        for dimension, rows in (dimensions if isinstance(dimensions, Mapping) else {"": dimensions}).items():
            for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
                yield f"{where}, {dimension}, {number}", (f"{task}/{video}/{dimension}/{number}", row)


def _read(item: tuple[str, Any]) -> Iterator[Prediction]:
    key, raw = item
    row = as_object(raw)
    if PREDICTION not in row:
        raise PredictionError(f"no {PREDICTION} in {shown(dict(row))}; add one, perhaps an empty text")
    said = text_of(row[PREDICTION], PREDICTION)
    yield Prediction((said,), text_of(key, "the key"), query=name_of(row, ("question",)))


FORM = Form(_fits, _entries, _read)
