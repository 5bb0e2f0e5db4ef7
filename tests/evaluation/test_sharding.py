"""Which process answers what: the busiest ends little after the others, and all processes agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from timechat.evaluation.benchmarks import Question
from timechat.evaluation.sharding import (
    SECONDS_PER_ANSWER,
    SECONDS_PER_CLIP,
    SECONDS_PER_MEGABYTE,
    assign,
    clip_cost,
    clips_of,
)


def question(id: str, video: str, *part: float | None) -> Question:
    return Question(id, video, "", "Who?", *part)


def test_clips_are_grouped_by_all_that_decoding_depends_on() -> None:
    parts = [("a",), ("b",), ("a",), ("a", 1.0), ("a", 1.0, 2.0), ("a", None, None, 3.0), ("a", 1.0)]
    asked = [question(str(number), *part) for number, part in enumerate(parts, 1)]
    clips = clips_of(asked)
    assert [[q.id for q in clip.questions] for clip in clips] == [["1", "3"], ["2"], ["4", "7"], ["5"], ["6"]]
    assert (clips[3].video, clips[3].start, clips[3].end, clips[4].frame_rate) == ("a", 1.0, 2.0, 3.0)


def test_cost_counts_the_file_and_the_questions(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "folder").mkdir()
    (clip,) = clips_of([question("1", "a"), question("2", "a")])
    assert clip_cost(clip, tmp_path) == pytest.approx(
        SECONDS_PER_CLIP + 3 * SECONDS_PER_MEGABYTE + 2 * SECONDS_PER_ANSWER
    )
    for name in ("gone", "folder"):
        (clip,) = clips_of([question("1", name)])
        assert clip_cost(clip, tmp_path) == SECONDS_PER_CLIP + SECONDS_PER_ANSWER


def test_dealing_by_hand() -> None:
    """7 to process 0, 5 and then 4 to process 1 (9), 3 to process 0 (10), 2 to process 1 (11)."""
    assert assign([2.0, 7.0, 3.0, 5.0, 4.0], 2) == [[1, 2], [3, 4, 0]]
    assert assign([1.0, 1.0, 1.0], 2) == [[0, 2], [1]]
    assert assign([1.0], 3) == [[0], [], []]
    assert assign([], 2) == [[], []]


def test_skewed_costs_are_balanced() -> None:
    """A few videos carry most of the work and stand together, as where files are sorted by length."""
    costs = [60.0, 55.0, 50.0, 45.0] + [20.0] * 8 + [2.0] * 150
    shares = assign(costs, 4)
    assert sorted(index for share in shares for index in share) == list(range(len(costs)))
    loads = [sum(costs[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= 2.0
    dealt_in_turn = [sum(costs[rank::4]) for rank in range(4)]
    assert max(dealt_in_turn) - min(dealt_in_turn) > 10
