"""How a run is asked to stop, and how it leaves its loop.

A scheduler that wants its machine back sends SIGTERM, or SIGUSR1 if the job asked for an early warning; Ctrl-C is
SIGINT, a terminal that closes SIGHUP. The process finishes its optimizer step; all processes learn of it at their next
agreement, and stop at the same place.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from timechat import distributed
from timechat.datasets.worker_signals import STOP_SIGNALS

T = TypeVar("T")


class StopTraining(Exception):
    """Leaves the loop between two optimizer steps, on every process alike; what was learned so far is saved.

    Args:
        reason: the beginning of a sentence that says why.
        failed: the run ends with a TrainingError instead of exit status 0.
    """

    def __init__(self, reason: str, failed: bool = False):
        super().__init__(reason)
        self.failed = failed


class _Interrupted(BaseException):
    """Raised by the handler; like KeyboardInterrupt, it is not for anyone who catches every Exception."""


class StopSignals:
    """Within this context signals that ask for a stop are only noted. Contexts may be nested.

    A signal that the process was started to ignore stays ignored: `nohup` ignores SIGHUP, a script SIGINT for what it
    starts in the background.

    Attributes:
        names: of the signals that this process got.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._handlers: dict[int, Any] = {}
        self._depth = 0
        self._at_once = False

    @property
    def received(self) -> bool:
        """Whether this process was asked to stop."""
        return bool(self.names)

    def __enter__(self) -> StopSignals:
        self._depth += 1
        if self._depth == 1:
            self.names = []
            if threading.current_thread() is threading.main_thread():  # Python allows it only there
                heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
                self._handlers = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers = {}

    def at_once(self, work: Callable[[], T]) -> T | None:
        """Do something that a signal ends at once: long work that needs no other process and loses nothing.

        Returns:
            What the work returns; None, whatever it raised, if a signal has come: see `received`.
        """
        with self:
            try:  # the handler may raise anywhere in here, until the inner `finally` is done
                try:
                    self._at_once = True
                    return None if self.received else work()
                finally:
                    self._at_once = False
            except BaseException:
                if not self.received:
                    raise
        return None

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name not in self.names:
            self.names.append(name)
            if distributed.is_main_process():  # not through logging: the signal may have come while it holds a lock
                os.write(2, f"{name}: stopping as soon as nothing gets lost\n".encode())
        if self._at_once:
            self._at_once = False
            raise _Interrupted


stop_signals = StopSignals()  # signals belong to the process


def stop_reason() -> str:
    """Which signals stop the run, the same on every process; collective."""
    gathered = distributed.gather_objects(stop_signals.names)
    names = distributed.on_main_process(lambda: sorted({name for names in gathered or [] for name in names}))
    return f"stopped by {' and '.join(names) or 'a signal'}"


def start_command() -> str:
    """The command that started this run, as far as a process can know it."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return shlex.join(["python", *sys.argv])
    machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    nodes = [f"--nnodes={machines}", "..."] if machines > 1 else []
    return shlex.join(["torchrun", *nodes, f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}", *sys.argv])
