"""A file on which a process hangs or dies costs that file alone; jobs in order, few of them taken ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from helpers.pooled import act, die, double

from timechat.data.worker_pool import WorkerPool, chunks, in_order
from timechat.errors import ConfigError, VideoError


def outcome(how: str, pool: WorkerPool, folder: Path) -> str:
    """What a call returns or raises."""
    try:
        return str(pool.call("a.mp4", how, str(folder)))
    except (VideoError, OSError) as error:
        return str(error)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether it holds within a minute."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def hangs(folder: Path) -> bool:
    return any("hang" in path.name for path in folder.iterdir())


def pids(folder: Path) -> set[int]:
    return {int(path.suffix[1:]) for path in folder.iterdir()}


def test_each_call_is_done_whatever_happens_to_others(tmp_path: Path) -> None:
    pool = WorkerPool(act, workers=2, timeout_s=20)
    asked = ["a", "crash", "b", "bad", "c", "full", "d"]
    found = dict(pool.each(partial(outcome, pool=pool, folder=tmp_path), asked))
    assert found == {
        **{how: how for how in "abcd"},
        "crash": "a.mp4: ended the process that read it. Download it again or remove it.",
        "bad": "a.mp4: is bad",
        "full": "[Errno 28] No space left on device",
    }
    assert len(pids(tmp_path)) <= 3  # two, and one in the place of that which died
    assert not any(map(alive, pids(tmp_path)))


def test_what_hangs_is_ended(tmp_path: Path) -> None:
    pool = WorkerPool(act, workers=1, timeout_s=5)
    found = dict(pool.each(partial(outcome, pool=pool, folder=tmp_path), ["hang", "a"]))
    assert found["hang"] == "a.mp4: takes longer than --timeout=5 s. Download it again or remove it."
    assert found["a"] == "a"
    assert not any(map(alive, pids(tmp_path)))


def test_whoever_stops_waiting_leaves_no_process_behind(tmp_path: Path) -> None:
    """As Ctrl-C does."""
    pool = WorkerPool(act, workers=2, timeout_s=600)
    results = pool.each(partial(outcome, pool=pool, folder=tmp_path), ["a", "hang", "hang", "b"])
    assert next(results)[0] == "a"
    assert wait_until(lambda: hangs(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert not any(map(alive, pids(tmp_path)))


def test_processes_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    """They write nothing into a folder that the next run has tidied already."""
    asking = f"from helpers.pooled import act; WorkerPool(act, 1).call('a.mp4', 'hang', {str(tmp_path)!r})"
    script = f"from timechat.data.worker_pool import WorkerPool; {asking}"
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path})
    assert wait_until(lambda: hangs(tmp_path))
    assert all(map(alive, pids(tmp_path)))
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(map(alive, pids(tmp_path))))


# In order -------------------------------------------------------------------------------------------------------------


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


def test_one_job_is_done_here(tmp_path: Path) -> None:
    assert list(in_order(partial(act, folder=str(tmp_path)), ["a"], 2)) == ["a"]
    assert pids(tmp_path) == {os.getpid()}


def test_errors_that_can_be_fixed_come_as_they_are(tmp_path: Path) -> None:
    results = in_order(partial(act, folder=str(tmp_path)), ["a", "wrong", "b"], 2)
    assert next(results) == "a"
    with pytest.raises(ConfigError, match="is wrong"):
        next(results)
    assert not any(map(alive, pids(tmp_path)))


def test_a_killed_process_ends_it_with_advice() -> None:
    with pytest.raises(ConfigError, match="lower --workers and run the command again"):
        list(in_order(die, range(3), 2))


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
