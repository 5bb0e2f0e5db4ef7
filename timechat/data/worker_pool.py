"""Processes that each do one task after the other.

`WorkerPool` is for files: one on which a process hangs or dies costs only that file. `in_order` is for everything else:
results come in the order of the jobs, and few of them wait in memory.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, TypeVar

from timechat.errors import ConfigError, TimeChatError, VideoError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # jobs for each process that wait, or whose results do

_context = multiprocessing.get_context("spawn")  # the fork of a process with threads may hang


class WorkerPool:
    """Calls of one function, in several processes at once.

    Args:
        function: importable by name, or a partial of such a one; what it takes and returns can be pickled. It may raise
            TimeChatError and OSError.
        workers: processes.
        timeout_s: seconds that one call may take; None: any number.
    """

    def __init__(self, function: Callable[..., Any], workers: int, timeout_s: float | None = None) -> None:
        self._function, self._count, self._timeout_s = function, workers, timeout_s
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(workers):
            self._free.put(None)  # started when it is needed
        self._busy: set[_Worker] = set()
        self._closed = False

    def call(self, name: str, *arguments: Any) -> Any:
        """Call the function in a free process; from as many threads as there are workers.

        Args:
            name: of the file, for messages.
            arguments: of the function.

        Raises:
            VideoError: the function raised it, took too long, or ended its process.
            OSError: the function raised it.
        """
        try:
            return self._ask(*arguments)
        except _Ended as error:
            late = f"takes longer than --timeout={self._timeout_s:g} s"
            what = late if error.late else "ended the process that read it"
            raise VideoError(name, f"{what}. Download it again or remove it.") from None

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Run a function, which calls this pool, for each item, once; yields item and result as they come.

        All processes have ended afterwards, also after Ctrl-C.
        """
        with self._threads() as threads:
            waiting = {threads.submit(function, item): item for item in items}
            for future in as_completed(waiting):
                yield waiting[future], future.result()

    def in_order(self, jobs: Iterable[Any]) -> Iterator[Any]:
        """Results in the order of the jobs, which are taken only as they are needed.

        All processes have ended afterwards, also after Ctrl-C.

        Raises:
            ConfigError: a process was killed.
        """
        waiting: deque[Future[Any]] = deque()
        try:
            with self._threads() as threads:
                for job in jobs:
                    waiting.append(threads.submit(self._ask, job))
                    if len(waiting) >= _AHEAD * self._count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        except _Ended as error:
            raise ConfigError(
                f"one of {self._count} processes was killed (mostly the machine ran out of memory): lower --workers "
                "and run the command again"
            ) from error

    def _ask(self, *arguments: Any) -> Any:
        """What the function returns or raises. Raises _Ended: the process did, or it was too late."""
        worker = self._free.get() or _Worker(self._function)
        self._busy.add(worker)
        try:
            answer = None if self._closed else worker.ask(arguments, self._timeout_s)
        except (EOFError, ConnectionError, TimeoutError) as error:
            worker.end()
            self._free.put(None)
            raise _Ended(late=isinstance(error, TimeoutError)) from None
        finally:
            self._busy.discard(worker)
        self._free.put(worker)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        """Threads for calls; after the `with` block, however it ends, all processes have ended."""
        try:
            with ThreadPoolExecutor(self._count) as threads:
                try:
                    yield threads
                finally:
                    self._closed = True
                    threads.shutdown(wait=False, cancel_futures=True)
                    for worker in list(self._busy):
                        worker.kill()
        finally:
            while not self._free.empty():
                if (idle := self._free.get()) is not None:
                    idle.end()


def in_order(function: Callable[[T], R], jobs: Iterable[T], workers: int) -> Iterator[R]:
    """Results of a function in the order of its jobs, which are taken only as they are needed.

    Args:
        function: as for WorkerPool.
        jobs: may be endless. For one alone no process is started.
        workers: processes; 1 is this process.

    Raises:
        ConfigError: a process was killed.
    """
    iterator = iter(jobs)
    first = list(itertools.islice(iterator, 1 if workers == 1 else 2))
    jobs = itertools.chain(first, iterator)
    yield from map(function, jobs) if len(first) < 2 else WorkerPool(function, workers).in_order(jobs)


def chunks(jobs: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many jobs, the last one of fewer."""
    iterator = iter(jobs)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


class _Ended(Exception):
    """A process ended during a call: by itself, or because it was too late."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.late = late


class _Worker:
    """A process that answers calls of one function, one after the other."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, arguments: Sequence[Any], timeout_s: float | None) -> Any:
        """What the function returns or raises. Raises EOFError, ConnectionError: the process died; TimeoutError."""
        self._pipe.send(arguments)
        if not self._pipe.poll(timeout_s):
            raise TimeoutError
        return self._pipe.recv()

    def kill(self) -> None:
        """Kill it, and the programs that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()

    def end(self) -> None:
        """Kill it, and forget it."""
        self.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, function: Callable[..., Any]) -> None:
    os.setsid()  # Ctrl-C is for the process that asks, which ends this one with all that it has started
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments)
        except (TimeChatError, OSError) as error:
            answer = error
        pipe.send(answer)


def _end_with_the_asker() -> None:
    """End this process, and the programs that it has started, when the one that asks was killed: nobody else would.

    It would go on writing into a folder that the next run has cleaned already.
    """
    asker = multiprocessing.parent_process()
    if asker is not None:
        wait([asker.sentinel])
        os.killpg(0, signal.SIGKILL)
