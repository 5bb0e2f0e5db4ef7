"""Answers in TimeIT's words, and that the parser of the evaluation reads them back."""

from __future__ import annotations

import pytest

from timechat.data.answer_templates import (
    chapters_answer,
    dense_captions_answer,
    grounding_answer,
    highlights_answer,
    is_instant,
    moments_answer,
    quoted,
    sentence,
    summary_answer,
    transcribed_speech,
)
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding, parse_highlights


def test_grounding() -> None:
    assert grounding_answer(3.0, 4.25) == "The given query happens in 3.0 - 4.2 seconds."
    assert parse_grounding(grounding_answer(3.0, 4.5)) == [(3.0, 4.5)]
    assert grounding_answer(0, 10) == "The given query happens in 0.0 - 10.0 seconds."
    assert moments_answer([(0, 10)], whole=True) == "The given query happens in 0 - 10 seconds."


def test_a_moment_without_length_is_one_time() -> None:
    assert moments_answer([(12.31, 12.34)]) == "The given query happens in 12.3 seconds."
    assert grounding_answer(12.31, 12.34) == "The given query happens in 12.3 - 12.3 seconds."
    assert is_instant(12.31, 12.34)
    assert not is_instant(12.3, 12.4)


def test_several_moments() -> None:
    answer = moments_answer([(3.0, 4.0), (9.5, 12.0)])
    assert answer == "The given query happens in 3.0 - 4.0, 9.5 - 12.0 seconds."
    assert parse_grounding(answer) == [(3.0, 4.0), (9.5, 12.0)]


def test_dense_captions() -> None:
    events = [(0.0, 2.5, "a red circle appears."), (10.0, 12.0, "a cook stirs.")]
    answer = dense_captions_answer(iter(events))
    assert answer == "0.0 - 2.5 seconds, a red circle appears.  10.0 - 12.0 seconds, a cook stirs."
    assert [(*event["timestamp"], event["caption"]) for event in parse_dense_captions(answer)] == events
    assert dense_captions_answer([]) == ""


def test_chapters() -> None:
    answer = chapters_answer([(2.7, "Introduction."), (8.5, "Ingredients needed.")])
    assert answer == "2.7 seconds, Introduction.  8.5 seconds, Ingredients needed."
    assert [event["timestamp"] for event in parse_dense_captions(answer)] == [[2.7, 2.7], [8.5, 8.5]]


def test_speech() -> None:
    said = [(0.0, 3.2, "hello there."), (3.4, 5.0, "next we stir.")]
    answer = transcribed_speech(said)
    assert answer == "Transcribed speech: 0.0 - 3.2 seconds, hello there. 3.4 - 5.0 seconds, next we stir."
    assert transcribed_speech([]) == "Transcribed speech: None."


def test_highlights() -> None:
    pairs = [(82.0, 4 / 3), (84.0, 5 / 3)]
    assert highlights_answer(pairs) == (
        "There are 2 highlight moments in the 82.0, 84.0 second. Their saliency scores are 1.3, 1.7."
    )
    assert summary_answer(pairs) == (
        "The highlight timestamps are in the 82.0, 84.0 seconds. Their saliency scores are 1.3, 1.7."
    )
    assert parse_highlights(highlights_answer(pairs)) == parse_highlights(summary_answer(pairs))
    assert parse_highlights(summary_answer(pairs)) == [(82.0, 1.3), (84.0, 1.7)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" A man  sits down.", "A man sits down."),
        ("stir", "stir."),
        ("stir..", "stir."),
        ("really?", "really?"),
        ("#C C cuts", "C C cuts."),
    ],
)
def test_sentences_end_in_one_full_stop(text: str, wanted: str) -> None:
    assert sentence(text) == wanted


def test_queries_are_quoted() -> None:
    assert quoted(" a person is putting a book on a shelf. ") == "'a person is putting a book on a shelf'"
