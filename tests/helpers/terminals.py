"""A program in a pseudo terminal: what it shows, and keys for it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


class Terminal:
    """Runs `python -m MODULE ARGUMENT ...`, whose controlling terminal it is.

    Attributes:
        shown: all that was shown so far, without colours and returns.
    """

    def __init__(self, module: str, *arguments: str, timeout_s: float = 240):
        self.shown, self._read, self._deadline = "", 0, time.monotonic() + timeout_s
        self._keys, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TERM": "dumb"},
        )
        os.close(slave)

    def until(self, pattern: str) -> str:
        """Wait until it has shown this regular expression, after what was waited for before; returns the match."""
        while not (found := re.compile(pattern).search(self.shown, self._read)):
            assert self._more(), f"ended without {pattern!r}: {self.shown}"
        self._read = found.end()
        return found.group()

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keys, keys.encode())

    def interrupt(self, pattern: str) -> None:
        """Press Ctrl-C at a prompt, again every few seconds, until it has shown this regular expression.

        Python overlooks a signal that comes just before it waits for a key, until a key or another signal comes.
        """
        while not re.compile(pattern).search(self.shown, self._read):
            self.type(CTRL_C)
            again = time.monotonic() + 5
            while (left := again - time.monotonic()) > 0 and not re.compile(pattern).search(self.shown, self._read):
                if select.select([self._keys], [], [], left)[0]:
                    assert self._more(), f"ended without {pattern!r}: {self.shown}"
            assert time.monotonic() < self._deadline, f"too slow: {self.shown}"
        self.until(pattern)

    def status(self) -> int:
        """Wait for the end; returns the exit status."""
        while self._more():
            pass
        return self._process.wait(timeout=60)

    def _more(self) -> bool:
        left = self._deadline - time.monotonic()
        assert select.select([self._keys], [], [], max(0.0, left))[0], f"too slow: {self.shown}"
        try:
            news = os.read(self._keys, 65536)
        except OSError:  # on Linux, the end
            return False
        self.shown += _ESCAPES.sub("", news.decode(errors="replace"))
        return bool(news)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keys)
