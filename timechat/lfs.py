"""git-lfs pointers: three lines of text that a clone without git-lfs has instead of a large file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from timechat.errors import TimeChatError

MARK = b"version https://git-lfs.github.com/spec/v1"
_MOST_BYTES = 1024  # largest size of a pointer, according to the format


def pointer_problem(path: str | Path) -> str | None:
    """The problem with a file that is a git-lfs pointer, and the fix; None for all other files, also missing ones."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MOST_BYTES:
            return None
        content = Path(path).read_bytes()
    except OSError:
        return None  # whoever reads the file will say so
    if not content.startswith(MARK):
        return None
    size = re.search(rb"^size (\d+)$", content, re.MULTILINE)
    real = f" of {_size(int(size[1]))}" if size else ""
    return f"is a git-lfs pointer, not the file{real} itself; run `git lfs install && git lfs pull` in its folder"


def refuse_pointer(path: str | Path, error: type[TimeChatError], key: str = "") -> None:
    """Raise an error of that kind if a file is a git-lfs pointer.

    Args:
        path: the file; a missing one passes.
        error: the type to raise.
        key: the setting that names the file, for the message; "" without one.
    """
    if problem := pointer_problem(path):
        raise error(f"{key}={path} {problem}" if key else f"{path} {problem}")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
