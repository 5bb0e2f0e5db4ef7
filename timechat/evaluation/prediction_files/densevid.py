"""Results of dense captioning as ActivityNet's evaluation (densevid_eval) reads them.

{"results": {"v_uqiMw7tQ1Cc": [{"sentence": "...", "timestamp": [0.0, 9.2]}]}, "version": "VERSION 1.0", ...}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.prediction_files.documents import Document, items_of, shown
from timechat.evaluation.prediction_files.predictions import Form, Prediction, answer_of, text_of

RESULTS = "results"


def _fits(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get(RESULTS), dict)


def _entries(document: Document) -> Iterable[tuple[str, tuple[str, Any]]]:
    if not _fits(document.content):
        raise PredictionError(f'{document.name}: expected {{"{RESULTS}": {{video: [...]}}}}')
    return ((f"{RESULTS}[{key!r}]", (key, events)) for key, events in items_of(document.content[RESULTS]))


def _read(item: tuple[str, Any]) -> Iterator[Prediction]:
    video, events = item
    text_of(video, "the video")
    if not isinstance(events, list):
        raise PredictionError(f"found {shown(events)}: it must be a list of events")
    yield Prediction((answer_of(events, "events"),), video, video)


FORM = Form(_fits, _entries, _read)
