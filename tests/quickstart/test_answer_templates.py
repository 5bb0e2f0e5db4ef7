"""Answers in TimeIT's words, and that the parser of the evaluation reads them back."""

from __future__ import annotations

from quickstart.answer_templates import dense_captions_answer, grounding_answer
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding


def test_grounding() -> None:
    assert grounding_answer(3, 4.25) == "The given query happens in 3.0 - 4.2 seconds."
    assert parse_grounding(grounding_answer(3, 4.5)) == [(3.0, 4.5)]


def test_dense_captions() -> None:
    events = [(0, 2.5, "a red circle appears."), (10, 12, "a cook stirs.")]
    answer = dense_captions_answer(iter(events))
    assert answer == "0.0 - 2.5 seconds, a red circle appears.  10.0 - 12.0 seconds, a cook stirs."
    assert [(*event["timestamp"], event["caption"]) for event in parse_dense_captions(answer)] == events
    assert dense_captions_answer([]) == ""
