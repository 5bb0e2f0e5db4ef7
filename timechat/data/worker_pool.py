"""Processes that each do one task after the other; one that hangs or dies costs only the task that it was doing."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from timechat.errors import VideoError

T = TypeVar("T")
R = TypeVar("R")

_context = multiprocessing.get_context("spawn")  # the fork of a process with threads may hang


class WorkerPool:
    """Calls of one function, in several processes at once.

    Args:
        function: importable by name; what it takes and returns can be pickled. It may raise VideoError and OSError.
        workers: processes.
        timeout_s: seconds that one call may take.
    """

    def __init__(self, function: Callable[..., Any], workers: int, timeout_s: float) -> None:
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
        worker = self._free.get() or _Worker(self._function)
        self._busy.add(worker)
        try:
            answer = None if self._closed else worker.ask(arguments, self._timeout_s)
        except (EOFError, ConnectionError, TimeoutError) as error:
            worker.end()
            self._free.put(None)
            late = isinstance(error, TimeoutError)
            what = f"takes longer than --timeout={self._timeout_s:g} s" if late else "ended the process that read it"
            raise VideoError(name, f"{what}. Download it again or remove it.") from None
        finally:
            self._busy.discard(worker)
        self._free.put(worker)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Run a function, which calls this pool, for each item, once; yields item and result as they come.

        All processes have ended afterwards, also after Ctrl-C.
        """
        with ThreadPoolExecutor(self._count) as threads:
            waiting = {threads.submit(function, item): item for item in items}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            finally:
                self._closed = True
                for future in waiting:
                    future.cancel()
                for worker in list(self._busy):
                    worker.kill()
        while not self._free.empty():
            if (idle := self._free.get()) is not None:
                idle.end()


class _Worker:
    """A process that answers calls of one function, one after the other."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, arguments: Sequence[Any], timeout_s: float) -> Any:
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
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*arguments)
        except (VideoError, OSError) as error:
            answer = error
        pipe.send(answer)
