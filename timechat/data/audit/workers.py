"""A function over many jobs, in several processes, with as little waiting in memory as they need."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from timechat.errors import ConfigError

J = TypeVar("J")
R = TypeVar("R")

_AHEAD = 4  # jobs for each worker that wait, or whose results do


def chunks(jobs: Iterable[J], size: int) -> Iterator[list[J]]:
    """Lists of so many jobs, the last one of fewer."""
    iterator = iter(jobs)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def in_order(function: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    """Results in the order of the jobs, which are taken only as they are needed.

    Args:
        function: importable by name, or a partial of such a one.
        jobs: may be endless.
        workers: processes; 1 is this process.

    Raises:
        ConfigError: a process was killed.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    # Spawned: the fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_leave_interrupts_to_the_parent)
    try:
        waiting: deque[Future[R]] = deque()
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of {workers} processes was killed (mostly the machine ran out of memory): lower --workers and run "
            "the command again; it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
