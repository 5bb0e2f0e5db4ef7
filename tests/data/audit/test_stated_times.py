"""The times that answers state: those of the published templates and of other wordings, not every number."""

from __future__ import annotations

import pytest

from timechat.data.audit.answers import DENSE, GROUNDING, HIGHLIGHTS, TEXT, faults_of, stated_times


@pytest.mark.parametrize(
    ("answer", "kind", "times"),
    [
        ("The given query happens in 0.0 - 6.9 seconds.", GROUNDING, [(0.0, 6.9)]),
        ("The given query happens in 6.9 - 0.0 seconds.", GROUNDING, [(6.9, 0.0)]),
        ("The given query happens in 12.0 seconds.", GROUNDING, [(12.0, None)]),
        ("From 1:05 to 2 minutes.", GROUNDING, [(65.0, 120.0)]),
        ("90.0 - 102.0 seconds, spread it on two slices.  114 - 127 seconds, fry 10 - 12 minutes.", DENSE,
         [(90.0, 102.0), (114.0, 127.0)]),
        ("2.7 seconds, Introduction.  8.5 seconds, 3 seconds of silence.", DENSE, [(2.7, None), (8.5, None)]),
        ("There are 2 highlight moments in the 82, 84 second. Their saliency scores are 1.3, 1.7.", HIGHLIGHTS,
         [(82.0, None), (84.0, None)]),
        ("The highlight timestamps are in the 57.0 seconds. Their saliency scores are 2.1.", HIGHLIGHTS,
         [(57.0, None)]),
        ("Yes.", TEXT, []),
        ("She adds 3 eggs and 2 - 3 spoons of sugar.", TEXT, []),
        ("It has to bake for 40 minutes, which takes so long that nobody in the video waits for it.", TEXT, []),
    ],
)  # fmt: skip
def test_stated_times(answer: str, kind: str, times: list[tuple[float, float | None]]) -> None:
    assert stated_times(answer) == (kind, times)


def test_the_worst_of_each_kind_is_named() -> None:
    intervals = [(1.0, 2.0), (5.0, 3.0), (9.0, 9.0), (12.0, 20.0), (30.0, None)]
    assert list(faults_of(intervals, 10.0, 1.0)) == [
        ("beyond-end", "30 s, the video ends at 10.0 s"),
        ("start-not-before-end", "5 - 3 seconds, and 1 more"),
    ]
    assert list(faults_of(intervals[:1], None, 1.0)) == []
    assert list(faults_of([(0.0, 11.0)], 10.0, 1.0)) == []
