"""Child processes of a tool: none keeps running when the tool is stopped, and no two train in the same folder."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from timechat.errors import TrainingError


class _Child(Protocol):
    def terminate(self) -> None:
        """Ask it to stop."""


_STOPPING = (signal.SIGINT, signal.SIGTERM)
_GRACE = 30.0  # seconds that the other processes get to end by themselves after one has failed
_guard = threading.Lock()
_running: set[_Child] = set()
_stopped = False


def run_child(command: Sequence[str], **options: Any) -> int:
    """Run a command to its end, from any thread; returns its exit status.

    Args:
        command: program and arguments.
        options: of `subprocess.Popen`.

    Raises:
        KeyboardInterrupt: the tool was stopped; the command got SIGTERM and ended, or was not started.
    """
    with _guard:
        if _stopped:
            raise KeyboardInterrupt
        child = subprocess.Popen(command, **options)
        _running.add(child)
    try:
        if _stopped:  # since the check above, before the child was in the list
            raise KeyboardInterrupt
        return child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    finally:
        with _guard:
            _running.discard(child)


def run_forks(processes: int, main: Callable[[], int]) -> int:
    """Run a function in forks of this process, which are ranks of one group as if torchrun had started them.

    What this process has imported they have as well, which saves each the seconds that torch and transformers take.
    Only from the main thread: a lock that another thread held would stay locked in a fork.

    Args:
        processes: how many.
        main: returns an exit status.

    Returns:
        The first exit status that is not 0, or 0. After it the other processes are ended.

    Raises:
        KeyboardInterrupt: the tool was stopped; the processes got SIGTERM and ended.
    """
    from torch.multiprocessing import ProcessExitedException, start_processes  # not all that run children need torch

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    sys.stderr.flush()
    children: set[Any] = set()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # until the children are known, who have to be told
    try:
        group = start_processes(_as_rank, (processes, port, main), processes, join=False, start_method="fork")
        children.update(group.processes)
        with _guard:
            _running.update(children)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while not group.join(grace_period=_GRACE):
            pass
    except ProcessExitedException as error:
        return error.exit_code
    except BaseException:
        for child in children:
            child.terminate()
        for child in children:
            child.join()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with _guard:
            _running.difference_update(children)
    return 0


def _as_rank(rank: int, world_size: int, port: int, main: Callable[[], int]) -> None:
    for number in _STOPPING:  # the handlers of `stopping_children` came along
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    import torch

    # Also where the number stays: the first call after a fork replaces torch's pool of threads, which does not survive
    # it, and two threads at once, such as those of autograd, may find none ("Invalid thread pool!").
    torch.set_num_threads(max(1, torch.get_num_threads() // world_size))
    sys.exit(main())


@contextmanager
def stopping_children() -> Iterator[None]:
    """Within this context SIGINT and SIGTERM stop the children of all threads, then raise KeyboardInterrupt here."""
    global _stopped

    def stop(number: int, frame: FrameType | None) -> None:
        global _stopped
        _stopped = True  # without the lock, which this thread may hold
        for child in list(_running):
            child.terminate()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _stopped = False


@contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """Lock a folder; a child that inherits the yielded file descriptor keeps the lock, even if this process is killed.

    Raises:
        TrainingError: another process has the lock.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"{folder}: another process is training there; wait until it ends, or stop it, then start this command "
                "again"
            ) from error
        yield file.fileno()
