"""Processes that a tool starts and waits for: none goes on when the tool is stopped, and no two train in one folder."""

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
        KeyboardInterrupt: the tool was stopped; the command got SIGTERM and has ended, or was not started.
    """
    with _guard:
        if _stopped:
            raise KeyboardInterrupt
        child = subprocess.Popen(command, **options)
        _running.add(child)
    try:
        if _stopped:  # since it was asked, before the child stood in the list
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
    """Within it, SIGINT and SIGTERM reach the children of all threads, and then the tool: as KeyboardInterrupt."""
    global _stopped

    def stop(number: int, frame: FrameType | None) -> None:
        global _stopped
        _stopped = True  # without the lock, which this very thread may hold
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
    """Hold a folder; yields a file descriptor with which a child holds it on, even when this process is killed.

    Raises:
        TrainingError: another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"{folder}: another process trains there; wait for its end, or stop it and start this command again"
            ) from error
        yield file.fileno()
