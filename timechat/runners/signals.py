"""How a run is asked to stop, and how it leaves its loop.

A scheduler that wants its machine back sends SIGTERM, or SIGUSR1 if the job asked for an early warning. The process
finishes its optimizer step; all processes learn of it at their next agreement, and stop at the same place.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopTraining(Exception):
    """Leaves the loop between two optimizer steps, on every process alike; what was learned so far is saved.

    Args:
        reason: the beginning of a sentence that says why.
        failed: the run ends with a TrainingError instead of exit status 0.
    """

    def __init__(self, reason: str, failed: bool = False):
        super().__init__(reason)
        self.failed = failed


class StopSignals:
    """Within this context SIGTERM and SIGUSR1 are only noted.

    Attributes:
        received: whether this process got one of them.
    """

    def __init__(self) -> None:
        self.received = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            self._handlers = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def ignore_stop_signals(worker: int) -> None:
    """For DataLoader workers: schedulers signal every process of a job, but the current step still needs its data.

    SIGTERM from the parent still ends a worker. Only waiting for a signal tells who sent it; a handler does not.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    threading.Thread(target=_heed_the_parent, daemon=True).start()


def _heed_the_parent() -> None:
    while True:
        received = signal.sigwaitinfo(STOP_SIGNALS)
        if received.si_signo == signal.SIGTERM and received.si_pid == os.getppid():
            os._exit(0)


def start_command() -> str:
    """The command that started this run, as far as a process can know it."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return shlex.join(["python", *sys.argv])
    machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    nodes = [f"--nnodes={machines}", "..."] if machines > 1 else []
    return shlex.join(["torchrun", *nodes, f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}", *sys.argv])
