"""Looks at packets, kept on disk: a file is looked at once, not by every process and in every epoch.

Times are kept as differences, compressed: most files show each frame equally long, so that two hours take 1 kB.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np

from timechat.datasets.readers.look import Look, look_at
from timechat.io import replacing, sha256_of

# Part of every key: raise it when looks find something else.
VERSION = 3

_TIMES = ("stamps", "durations", "keys")  # the arrays of a look

_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


def user_folder() -> str:
    """Where looks are kept unless a config says otherwise: below the user's folder for caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "timechat", "looks")


def kept_look(name: str, size: int, changed: int, folder: str) -> Look:
    """A look at a video, taken now if the folder has none of this file at this size and time of change.

    A folder that cannot be written to is no error: looks are cheap, and frames are more important.

    Raises:
        VideoError: as `look_at`; that is not kept.
    """
    entry = entry_of(name, size, changed, folder)
    try:
        return _read(entry)
    except _DAMAGED:  # or there is none
        look = look_at(name)
    with contextlib.suppress(OSError):
        _write(entry, look)
    return look


def entry_of(name: str, size: int, changed: int, folder: str) -> Path:
    """Where the look at a file is kept."""
    return Path(folder) / f"{sha256_of(f'{name}|{size}|{changed}|{VERSION}')[:32]}.npz"


def _read(entry: Path) -> Look:
    with np.load(entry, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        return Look(
            **{name: np.cumsum(file[name]) for name in _TIMES},
            tick=Fraction(*about["tick"]),
            start=about["start"],
            fps=about["fps"],
            repeated=about["repeated"],
            doubts=tuple(about["doubts"]),
        )


def _write(entry: Path, look: Look) -> None:
    about = {
        "tick": look.tick.as_integer_ratio(),
        "start": look.start,
        "fps": look.fps,
        "repeated": look.repeated,
        "doubts": look.doubts,
    }
    with replacing(entry) as temporary, temporary.open("wb") as file:
        times = {name: np.diff(getattr(look, name), prepend=0) for name in _TIMES}
        np.savez_compressed(file, about=np.array(json.dumps(about)), **times)
