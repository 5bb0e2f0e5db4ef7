"""Child processes of a tool: none keeps running when the tool is stopped, and no two train in the same folder."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from timechat.errors import TrainingError

_guard = threading.Lock()
_running: set[subprocess.Popen] = set()
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

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
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
