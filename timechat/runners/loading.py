"""Batches from DataLoader workers, watched: one that hangs on a file or dies becomes an error that names the file."""

from __future__ import annotations

import multiprocessing
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from timechat import distributed
from timechat.batch import Batch
from timechat.datasets import StreamDataset
from timechat.datasets.watching import Reading, ReadingBoard
from timechat.errors import TimeChatError, WorkerError

POLL_S = 0.5  # seconds between two checks of the workers while training waits for data

# A worker killed by one of these crashed on the file that it was reading; the same file would crash it again.
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}


def read_batches(dataset: StreamDataset, num_workers: int, timeout_s: float | None, **settings: Any) -> Iterator[Any]:
    """The batches of an epoch, in order.

    Args:
        dataset: the epoch's samples.
        num_workers: processes that read them; with 0 this process reads, and nothing can be watched.
        timeout_s: seconds to wait for a worker that makes no progress; None: wait forever.
        settings: of the DataLoader.

    Raises:
        WorkerError: a worker hung or died.
        TimeChatError: an error of a worker, as it was raised there.
    """
    board = dataset.board = ReadingBoard(num_workers)
    loader = DataLoader(
        dataset,
        num_workers=num_workers,
        timeout=POLL_S if num_workers and timeout_s else 0,
        # Creating an iterator draws a seed; a separate generator leaves the global one where it is.
        generator=torch.Generator(),
        **settings,
    )
    others = set(multiprocessing.active_children())
    with _child_signals_kept():
        batches = iter(loader)
    workers = [child for child in multiprocessing.active_children() if child not in others]
    try:
        while (batch := _next(batches, dataset, board, workers, timeout_s)) is not None:
            yield batch
    finally:
        del batches  # ends its workers and waits for them, seconds at most
        for worker in workers:
            worker.kill()  # one that hangs would keep this process from ending


def group_by_step(batches: Iterator[Batch], accumulation: int) -> Iterator[list[Batch]]:
    """An epoch's micro-batches, as many as an optimizer step accumulates at a time; the last step takes what is left.

    A step ends early with a micro-batch for which no sample was found: the run stops there, and looking for the next
    would only take time.
    """
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == accumulation or not len(batch):
            yield group
            group = []
    if group:
        yield group


def _next(
    batches: Iterator[Any],
    dataset: StreamDataset,
    board: ReadingBoard,
    workers: list[BaseProcess],
    timeout_s: float | None,
) -> Any | None:
    """The next batch, None after the last one. Raises the errors of `read_batches`."""
    board.forget_time()
    while True:
        try:
            return next(batches, None)
        except TimeChatError as error:
            raise _without_traceback(error) from error
        except RuntimeError as error:
            _raise_if_dead(dataset, board, workers, error)
            if timeout_s is None or not _timed_out(error):
                raise
        _raise_if_hung(dataset, board, timeout_s)


def raise_together(failure: TimeChatError | None) -> NoReturn:
    """Raise, on all processes, the errors that some of them met while reading; collective.

    Args:
        failure: of this process.

    Raises:
        WorkerError: with the files of all, if the first failure is a WorkerError. TimeChatError: the first failure.
    """
    gathered = distributed.gather_objects(failure)
    first, *others = distributed.on_main_process(lambda: [error for error in gathered or () if error is not None])
    if isinstance(first, WorkerError):
        first.files += [file for error in others if isinstance(error, WorkerError) for file in error.files]
    raise first


@contextmanager
def _child_signals_kept() -> Iterator[None]:
    """Keep DataLoader from raising an error wherever this process happens to be when a worker dies.

    In the middle of an optimizer step or a checkpoint, one process alone would stop and leave the others waiting. A
    dead worker is noticed anyway, as soon as its batch is missing. A handler that another DataLoader left behind, such
    as that of a benchmark between two epochs, is removed, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    left_over = getattr(handler, "__module__", None) == signal_handling.__name__
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if left_over else handler)


def _timed_out(error: RuntimeError) -> bool:
    """DataLoader has no error type for a timeout; its iterator can be asked again afterwards."""
    return str(error).startswith("DataLoader timed out")


def _raise_if_hung(dataset: StreamDataset, board: ReadingBoard, timeout_s: float) -> None:
    hung, still = board.wait(POLL_S, timeout_s)
    limit = f"run.data_timeout_s={timeout_s:g} s on {platform.node()}"
    if hung:
        reason = f"a worker hung on it for {timeout_s:g} s (run.data_timeout_s)"
        files = [_file(dataset, reading, reason) for reading in hung]
        raise WorkerError(
            f"{_names(dataset, hung)}: not read within {limit} (a damaged file, or a disk that does not answer; a "
            "resumed run leaves it out)",
            files,
        )
    if still:
        raise WorkerError(
            f"no data came within {limit}, although no worker is reading a file (the machine may be out of memory or "
            "shared memory, /dev/shm; lower run.num_workers)"
        )


def _raise_if_dead(
    dataset: StreamDataset, board: ReadingBoard, workers: list[BaseProcess], error: RuntimeError
) -> None:
    dead = {worker.pid: worker.exitcode for worker in workers if worker.exitcode is not None}
    if not dead:
        return
    readings = [reading for reading in board.readings() if reading.pid in dead]
    (pid, code), *_ = dead.items()
    name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    at = f" while reading {_names(dataset, readings)}" if readings else ""
    what = f"DataLoader worker {pid} on {platform.node()} ended with {name}{at}"
    if -code in _CRASHES and readings:
        files = [_file(dataset, reading, f"reading it ended a worker with {name}") for reading in readings]
        raise WorkerError(f"{what} (a damaged file; a resumed run leaves it out)", files) from error
    raise WorkerError(
        f"{what} (SIGKILL mostly means that the machine or the job ran out of memory, SIGBUS that shared memory, "
        "/dev/shm, is full: lower run.num_workers, or give the job more memory or shared memory, docker run --shm-size)"
    ) from error


def _names(dataset: StreamDataset, readings: list[Reading]) -> str:
    return ", ".join(dataset.datasets[r.ref.dataset].key(r.ref.index) for r in readings)


def _file(dataset: StreamDataset, reading: Reading, reason: str) -> tuple[str, str, str]:
    source = dataset.datasets[reading.ref.dataset]
    return source.name, source.path(reading.ref.index), reason


def _without_traceback(error: TimeChatError) -> TimeChatError:
    """DataLoader puts a worker's traceback into the error message; users need only the message itself."""
    kind = type(error)
    return kind(str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].rstrip())
