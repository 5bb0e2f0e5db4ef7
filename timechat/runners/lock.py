"""One run at a time in an output folder."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from timechat.errors import ConfigError

logger = logging.getLogger(__name__)

FILE = ".lock"
PATIENCE_S = 5.0  # a process that was just killed may take a moment to be gone
_POLL_S = 0.2
_TAKEN = {errno.EACCES, errno.EAGAIN}


class RunLock:
    """Keeps other runs out of a folder while this process lives; call it on the main process.

    A POSIX record lock on a file, because NFS knows it on all machines, because it ends with the process, however that
    ends, and because workers do not inherit it: one that outlives its parent keeps nobody out. A file without a lock is
    what a killed run left, and means nothing.

    Args:
        folder: the run's output folder.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises ConfigError: another process, which is named, still has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        give_up = time.monotonic() + PATIENCE_S
        while not self._try():
            if time.monotonic() >= give_up:
                raise ConfigError(
                    f"run.output_dir={self.path.parent}: {self._holder()} is training in it; wait until it ends, end "
                    "it, or give another folder"
                )
            time.sleep(_POLL_S)

    def _try(self) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _TAKEN:
                return False
            logger.warning("%s: this file system has no locks (%s); nothing keeps a second run out", self.path, error)
            return True
        if not self._is_current(descriptor):  # its holder removed it between the two calls
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
        return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, LookupError, TypeError):
            return "another process"

    def release(self) -> None:
        """Give the lock back; does nothing without it."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with suppress(OSError):  # for example after the folder was removed
            if self._is_current(descriptor):
                self.path.unlink()
        os.close(descriptor)
