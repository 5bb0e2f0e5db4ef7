"""Looks at packets, kept on disk next to cached frames."""

from __future__ import annotations

import contextlib
import json
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from timechat.datasets.readers.look import Look, look_at
from timechat.io import replacing, sha256_of

# Part of every key: raise it when looks find something else.
VERSION = 2

_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


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
            stamps=file["stamps"],
            durations=file["durations"],
            keys=file["keys"],
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
        np.savez(file, stamps=look.stamps, durations=look.durations, keys=look.keys, about=np.array(json.dumps(about)))
