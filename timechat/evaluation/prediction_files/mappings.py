"""An object with an answer under each id.

{"17": "0.0 - 6.9 seconds"}                                          text, or an option's number
{"17": {"timestamp": [[0.0, 6.9]], "query": "...", "vid": "..."}}    TimeChat's fmt_*.json of grounding
{"xHr8X2Wpmno.mp4": [{"timestamp": [47, 60], "caption": "..."}]}     the same of dense captioning
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timechat.evaluation.prediction_files.predictions import Form, Prediction, answer_of, record_of, text_of


def _read(item: tuple[str, Any]) -> Iterator[Prediction]:
    key, value = item
    text_of(key, "the key")
    if isinstance(value, Mapping):
        yield from record_of(value, key)
    else:
        yield Prediction((answer_of(value, "the value"),), key)


FORM = Form(lambda content: isinstance(content, dict), lambda document: document.items(), _read)
