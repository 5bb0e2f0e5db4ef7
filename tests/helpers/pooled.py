"""What processes of a pool do in tests; imported by name in each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from timechat.errors import ConfigError, VideoError


def act(how: str, folder: str) -> str:
    """Note this process's id, then do as told."""
    Path(folder, f"{how}.{os.getpid()}").touch()
    if how == "hang":
        time.sleep(600)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "bad":
        raise VideoError("a.mp4", "is bad")
    if how == "wrong":
        raise ConfigError("is wrong")
    if how == "full":
        raise OSError(28, "No space left on device")
    return how


def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


def die(number: int) -> int:
    """As when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number
