"""One process at a time in an output folder: of a training run, or of an evaluation."""

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
from typing import Any

from timechat.errors import ConfigError, FileError
from timechat.io import make_folder, process_lives, remove_empty

logger = logging.getLogger(__name__)

FILE = ".lock"
PATIENCE_S = 5.0  # a process that was just killed may take a moment to be gone
_POLL_S = 0.2
_TAKEN = {errno.EACCES, errno.EAGAIN}


class FolderLock:
    """Keeps others out of a folder while this process lives; call it on the main process.

    A POSIX record lock on a file, because NFS knows it on all machines, because it ends with the process, however that
    ends, and because workers do not inherit it: one that outlives its parent keeps nobody out. A file without a lock is
    what a killed process left, and means nothing. Only on a file system without locks does its content count: a process
    of this machine that lives keeps others out.

    Args:
        folder: to be locked; it is created.
        setting: what names the folder, for messages, such as `run.output_dir=runs/x`.
        work: what this process does there, such as `is training in it`.
    """

    def __init__(self, folder: Path, setting: str, work: str):
        self.path = folder / FILE
        self.setting, self.work = setting, work
        self._descriptor: int | None = None
        self._made: list[Path] = []

    def acquire(self) -> None:
        """Take the lock. Raises ConfigError: another process, which is named, has it, or nothing can be written."""
        try:
            self._made = make_folder(self.path.parent)
            give_up = time.monotonic() + PATIENCE_S
            while not self._try():
                if time.monotonic() >= give_up:
                    raise ConfigError(
                        f"{self.setting}: {self._holder()}; wait until it ends, end it, or give another folder"
                    )
                time.sleep(_POLL_S)
        except OSError as error:
            self.release()
            cause = error.error if isinstance(error, FileError) else error
            if cause.errno in (errno.EEXIST, errno.ENOTDIR):
                reason, fix = "there is a file where a folder must be", ""
            else:
                reason, fix = str(cause), ", or see to its permissions and the space on its disk"
            raise ConfigError(f"{self.setting}: cannot be written to ({reason}); give another folder{fix}") from error

    def _try(self) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN or self._lives():
                os.close(descriptor)
                return False
            logger.warning(
                "%s: this file system has no locks (%s); nothing keeps out a second start on another machine",
                self.path, error,
            )  # fmt: skip
        if not self._is_current(descriptor):  # its holder removed it between the two calls
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "work": self.work}
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _read(self) -> dict[str, Any]:
        """Who wrote the file last; empty if that cannot be read."""
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}

    def _lives(self) -> bool:
        """Whether who wrote the file last is another process of this machine that has not ended."""
        holder = self._read()
        pid = holder.get("pid")
        if holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid in (os.getpid(), 0):
            return False
        return process_lives(pid)

    def _holder(self) -> str:
        holder = self._read()
        if {"host", "pid", "work"} <= holder.keys():
            return f"process {holder['pid']} on {holder['host']} {holder['work']}"
        return "another process has its lock"

    def release(self) -> None:
        """Give the lock back, and remove the folder if it was created for it and has stayed empty."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):  # for example after the folder was removed
                if self._is_current(descriptor):
                    self.path.unlink()
            os.close(descriptor)
        remove_empty(self._made)
