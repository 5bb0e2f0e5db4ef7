"""A file on which a process hangs or dies costs that file alone."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest
from helpers.pooled import act

from timechat.data.worker_pool import WorkerPool
from timechat.errors import VideoError


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
    deadline = time.monotonic() + 60
    while not any("hang" in path.name for path in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert not any(map(alive, pids(tmp_path)))
