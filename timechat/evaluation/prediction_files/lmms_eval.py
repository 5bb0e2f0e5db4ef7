"""What lmms-eval logs with `--log_samples`, `*_samples_TASK.jsonl`: a row of the data set, and what the model said.

    {"doc_id": 0, "doc": {"video": "3MSZA.mp4", "caption": "...", "timestamp": [24.3, 30.4]}, "target": "...",
     "resps": [["24.0 - 30.0 seconds"]], "filtered_resps": ["24.0 - 30.0 seconds"]}

`doc_id` counts the rows of the data set there, which need not be the order here: a question is recognised by what its
`doc` says, and by that number only where there is no `doc`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.prediction_files.documents import shown
from timechat.evaluation.prediction_files.predictions import (
    ID,
    QUERY,
    VIDEO,
    Form,
    Prediction,
    as_object,
    first_row,
    name_of,
    text_of,
)

RESPONSES = ("filtered_resps", "resps")


def _fits(content: Any) -> bool:
    keys = first_row(content).keys()
    return "doc_id" in keys and any(name in keys for name in RESPONSES)


def _read(raw: Any) -> Iterator[Prediction]:
    """One prediction for each text that was sampled."""
    row = as_object(raw)
    field = next((name for name in RESPONSES if row.get(name)), None)
    if field is None:
        raise PredictionError(f"neither {' nor '.join(RESPONSES)}; log the samples with --log_samples")
    doc = row.get("doc")
    if isinstance(doc, Mapping):
        key, video, query = name_of(doc, ID), name_of(doc, VIDEO), name_of(doc, (*QUERY, "caption"))
    else:
        key, video, query = name_of(row, ("doc_id",)), None, None
    for text in _texts(row[field], field):
        yield Prediction((text,), key, video, query)


def _texts(value: Any, field: str) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list) and not (len(item) == 2 and isinstance(item[1], bool)):
            yield from _texts(item, field)
        elif isinstance(item, str):
            yield text_of(item, field)
        else:
            raise PredictionError(f"{field} holds {shown(item)}: it must be text, and a likelihood is none")


FORM = Form(_fits, lambda document: document.rows(), _read)
