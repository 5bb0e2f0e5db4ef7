"""What processes of a pool do in tests; imported by name in each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from timechat.errors import VideoError


def act(how: str, folder: str) -> str:
    """Note this process's id, then do as told."""
    Path(folder, f"{how}.{os.getpid()}").touch()
    if how == "hang":
        time.sleep(600)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "bad":
        raise VideoError("a.mp4", "is bad")
    if how == "full":
        raise OSError(28, "No space left on device")
    return how
