"""Signals and DataLoader workers: a job that is to stop gets them in all processes, but the parent decides."""

from __future__ import annotations

import os
import signal
import threading

# SIGTERM and SIGUSR1 come from schedulers, SIGINT from Ctrl-C, SIGHUP from a terminal that closes.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


def ignore_stop_signals(worker: int = 0) -> None:
    """For DataLoader workers: the parent still needs their data until it has decided where to stop.

    SIGTERM from the parent still ends a worker. Only waiting for a signal tells who sent it; a handler does not.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    threading.Thread(target=_heed_the_parent, daemon=True).start()


def _heed_the_parent() -> None:
    while True:
        received = signal.sigwaitinfo(STOP_SIGNALS)
        if received.si_signo == signal.SIGTERM and received.si_pid == os.getppid():
            os._exit(0)
