"""Rows with an id, or a video and a question, and an answer: this project's predictions.jsonl and most others.

    {"id": "17", "video": "AO8RW.mp4", "query": "a person ...", "answer": "0.0 - 6.9 seconds"}
    [{"vname": "AO8RW.mp4", "query": "a person ...", "id": 17, "generated_cap": "The given query happens ..."}]

The second one is what TimeChat's published evaluation writes beside its `fmt_*.json`. An answer is text, an option's
number, a list of [start, end], or a list of events.
"""

from __future__ import annotations

from timechat.evaluation.prediction_files.predictions import Form, record_of

FORM = Form(lambda content: isinstance(content, list), lambda document: document.rows(), record_of)
