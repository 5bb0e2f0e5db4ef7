"""Answers in JSON: which key means what."""

from __future__ import annotations

from typing import Any

import pytest

from timechat.evaluation.json_answers import json_events, json_highlights, json_intervals


def ranges(text: str) -> list[tuple[float, float]]:
    """Stands in for the grammar of texts: "5 to 9"."""
    start, to, end = text.partition(" to ")
    return [(float(start), float(end))] if to else []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"start": 5, "end": 9.5}, [(5.0, 9.5)]),
        ({"start_time": "0:05", "endTime": "9 s"}, [(5.0, 9.0)]),
        ({"from": "5", "to": "9"}, [(5.0, 9.0)]),
        ({"end": 5, "begin": 9}, [(5.0, 9.0)]),
        ({"relevant_windows": [["5", "9"], [11, 12]]}, [(5.0, 9.0), (11.0, 12.0)]),
        ({"pred_relevant_windows": [[5, 9, 0.8]]}, [(5.0, 9.0)]),
        ({"answer": {"segment": [5, 9]}}, [(5.0, 9.0)]),
        ({"query": "1 to 2", "timestamp": "5 to 9"}, [(5.0, 9.0)]),
        ({"start_frame": 5, "end_frame": 9}, []),
        ({"frames": [5, 9], "time": [1, 2]}, [(1.0, 2.0)]),
        ({"percent": [5, 9], "duration": [5, 9]}, []),
        ({"times": [5, 7, 9]}, []),
        ({"start": "5,5", "end": "9,25"}, [(5.5, 9.25)]),
        ({"start": "5%", "end": "9%"}, []),
        ({"time": 5}, [(5.0, 5.0)]),
        ({"timestamp": "0:05", "score": 3}, [(5.0, 5.0)]),
        ({"start": True, "end": 9}, []),
        ({"start": -1, "end": 9}, []),
        ({"start": float("nan"), "end": 9}, []),
        ({"start": None, "end": [9]}, []),
        ({"start": "soon", "end": "9 people"}, []),
        ([{"start": 5, "end": 9}, {"start": 11, "end": 12}], [(5.0, 9.0), (11.0, 12.0)]),
    ],
)
def test_intervals(value: Any, expected: list[tuple[float, float]]) -> None:
    assert json_intervals(value, ranges) == expected


@pytest.mark.parametrize(
    "value",
    [
        [{"start": 5, "end": 9, "caption": "he  pours"}, {"start": 9, "end": 11, "caption": "he stirs"}],
        {"events": [{"timestamp": "5 to 9", "event": "he pours"}, {"timestamp": [9, 11], "event": "he stirs"}]},
        {
            "results": {
                "v": [{"sentence": "he pours", "timestamp": [5, 9]}, {"sentence": "he stirs", "segment": [9, 11]}]
            }
        },
        {"timestamps": [[5, 9], [9, 11]], "sentences": ["he pours", "he stirs"]},
        {"5 to 9": "he pours", "9 to 11": "he stirs"},
    ],
)
def test_events(value: Any) -> None:
    assert json_events(value, ranges) == [
        {"timestamp": [5.0, 9.0], "caption": "he pours"},
        {"timestamp": [9.0, 11.0], "caption": "he stirs"},
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"caption": "he pours"},
        {"start": 5, "end": 9, "caption": " "},
        {"timestamps": [[5, 9]], "sentences": ["he pours", "he stirs"]},
        {"he pours": 5},
        5,
    ],
)
def test_what_is_no_event(value: Any) -> None:
    assert json_events(value, ranges) == []


@pytest.mark.parametrize(
    "value",
    [
        {"timestamps": [82, "1:24"], "saliency_scores": [1.3, 1.7]},
        [{"timestamp": 82, "saliency": 1.3}, {"timestamp": 84, "saliency": 1.7}],
        {"highlights": [{"start": 82, "end": 84, "score": "1.3"}, {"time": "84s", "score": 1.7}]},
        {"82": 1.3, "84 s": 1.7},
        {"result": {"82": 1.3, "84": 1.7}},
    ],
)
def test_highlights(value: Any) -> None:
    assert json_highlights(value) == [(82.0, 1.3), (84.0, 1.7)]


@pytest.mark.parametrize(
    "value", [{"timestamps": [82, 84], "scores": [1.3]}, {"times": [82], "scores": ["high"]}, [], 5]
)
def test_what_is_no_highlight(value: Any) -> None:
    assert json_highlights(value) == []
