"""Reading videos in a process that can be killed: no file holds up, or ends, the process that asks for it.

Each process that reads videos has one such child (`child.py`), started with the first video, which reads all of them;
each DataLoader worker is one. Ctrl-C interrupts the waiting, and the child with it.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from timechat.datasets.readers.header import Header
from timechat.datasets.worker_signals import STOP_SIGNALS
from timechat.errors import ConfigError, VideoError

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from timechat.datasets.readers.child import serve
serve()
"""

# Time is counted in pieces of at most so many seconds: a job that is suspended for an hour has waited for one piece.
_PIECE_S = 1.0

_PIPE_BYTES = 1 << 20  # Linux starts with 64 kB; frames take 14 MB


class GuardedReader:
    """A video that is open in the child; see `VideoReader`.

    Args:
        name: the file.
        image_size: side in pixels of the square that frames are squashed to; None keeps their size.
        choice: auto | decord | pyav.
        timeout_s: how long opening it, or reading frames of it, may take.
        looks_dir: folder that keeps looks; "" for none.

    Raises:
        VideoError: the file is damaged or not a video, the child hung on it for `timeout_s`, or died of it.
        ConfigError: `choice` cannot be met, or the child cannot be started.
    """

    def __init__(self, name: str, image_size: int | None, choice: str, timeout_s: float, looks_dir: str) -> None:
        self._name, self._timeout_s = name, timeout_s
        # The child has the folder that was current when it started.
        path, looks = os.path.abspath(name), looks_dir and os.path.abspath(looks_dir)
        self._request = {"name": path, "image_size": image_size, "choice": choice, "looks_dir": looks}
        about, self.spans = self._ask(self._request)
        self.fps, self.how = float(about["fps"]), str(about["how"])

    def read(self, indices: list[int]) -> tuple[NDArray[Any], list[int]]:
        """See `VideoReader`."""
        about, frames = self._ask(self._request | {"indices": indices})
        return frames, about["shown"]

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], NDArray[Any]]:
        return _told(self._name, *_ask(self._name, request, self._timeout_s))


def check_video(name: str, how: str, timeout_s: float) -> Header:
    """What a video's header says, asked of the child; see `header.py`.

    Args:
        name: the file.
        how: header | decode, all of its frames.
        timeout_s: how long that may take.

    Raises:
        VideoError: the file is damaged or not a video, the child hung on it for `timeout_s`, or died of it.
        ConfigError: the child cannot be started.
    """
    about, _ = _told(name, *_ask(name, {"name": os.path.abspath(name), "check": how}, timeout_s))
    return Header(**{key.name: about[key.name] for key in fields(Header)})


def _told(name: str, about: dict[str, Any], array: NDArray[Any]) -> tuple[dict[str, Any], NDArray[Any]]:
    """An answer of the child. Raises VideoError, ConfigError: it says so."""
    if "video" in about:
        raise VideoError(name, about["video"])
    if "config" in about:
        raise ConfigError(about["config"])
    if "bug" in about:
        raise RuntimeError(f"{name}: the process that reads videos failed\n{about['bug']}")
    return about, array


class _Child:
    """The process, and the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        try:
            # In a session of its own: Ctrl-C in the terminal is for the process that asks.
            with _inherited_mask():
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
                )
        except OSError as error:
            raise ConfigError(
                f"the process that reads videos cannot be started ({error}); with model.video_timeout_s=null this "
                "process reads them itself, without a limit"
            ) from error
        self.requests = cast(io.BufferedWriter, self.process.stdin)
        self.answers = cast(io.BufferedReader, self.process.stdout)
        _widen(self.answers.fileno())

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], NDArray[Any]]:
        """Send a request and wait for the answer. Raises EOFError, BrokenPipeError: the child has died."""
        self.requests.write(json.dumps(request).encode() + b"\n")
        self.requests.flush()
        line = self.answers.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        about = json.loads(line)
        array = np.empty(about["shape"], about["dtype"])
        if array.size and self.answers.readinto(array.data.cast("B")) < array.nbytes:
            raise EOFError
        return about, array

    def end(self) -> int:
        """Kill it, whatever it does. Returns its exit status, negative for a signal."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.requests, self.answers):
            with suppress(BrokenPipeError):  # a request was still in the buffer
                pipe.close()
        return status


_lock = threading.Lock()
_child: _Child | None = None


def _ask(name: str, request: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], NDArray[Any]]:
    """Ask this process's child, which answers one thread after the other. Raises VideoError, ConfigError."""
    global _child
    with _lock:
        if _child is not None and _child.process.poll() is not None:  # it died between two videos
            _child.end()
            _child = None
        child = _child = _child or _Child()
        try:
            with _killed_after(child, timeout_s) as late:
                return child.ask(request)
        except BaseException as error:
            # Also after Ctrl-C: its answer would come too late, and hanging must end.
            _child, status = None, child.end()
            if not isinstance(error, EOFError | BrokenPipeError):
                raise
            raise VideoError(name, _late(timeout_s) if late else _died(status)) from None


@contextmanager
def _inherited_mask() -> Iterator[None]:
    """What starts in here never gets a signal to stop: schedulers send these to all processes of a job.

    It ends with the process that asks, which decides when; were it to end first, the file that it reads would be lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_after(child: _Child, timeout_s: float) -> Iterator[list[bool]]:
    """Kill the child if the `with` block takes longer; then the list that it gets is not empty."""
    done, late = threading.Event(), list[bool]()

    def watch() -> None:
        left = timeout_s
        while left > 0:
            piece = min(_PIECE_S, left)
            if done.wait(piece):
                return
            left -= piece
        late.append(True)
        child.process.kill()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        done.set()
        watcher.join()


def _late(timeout_s: float) -> str:
    return (
        f"not read within model.video_timeout_s={timeout_s:g} s (a damaged file, or a disk that does not answer). "
        "Re-encode it or leave it out; raise the limit if it only takes long."
    )


def _died(status: int) -> str:
    if -status == signal.SIGKILL:
        return (
            "the process that read it was killed (mostly the machine, or the job, ran out of memory). Lower "
            "run.num_workers, give the job more memory, or leave it out."
        )
    name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"reading it ended the reading process with {name} (a damaged file). Re-encode it or leave it out."


def _widen(pipe: int) -> None:
    """Give a pipe a larger buffer, where the system can."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        pass


def _forget() -> None:
    """A forked process gets a child of its own; this one answers its parent."""
    global _child, _lock
    _child, _lock = None, threading.Lock()


@atexit.register
def _end_child() -> None:
    if _child is not None:
        _child.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
