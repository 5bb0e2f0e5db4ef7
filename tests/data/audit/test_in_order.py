"""Jobs in several processes: results in order, few jobs taken ahead, a killed process is an error that can be fixed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from timechat.data.audit.workers import chunks, in_order
from timechat.errors import ConfigError


def double(number: int) -> int:
    return 2 * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order_and_jobs_are_taken_as_needed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    for workers in (1, 2):
        taken.clear()
        results = in_order(double, endless(), workers)
        assert [next(results) for _ in range(20)] == [2 * number for number in range(20)]
        results.close()
        assert len(taken) <= 20 + 4 * workers


def test_a_killed_process_ends_it_with_advice() -> None:
    with pytest.raises(ConfigError, match="lower --workers and run the command again"):
        list(in_order(die, range(3), 2))


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
