"""Opening a video in this process: one look at its packets, then the reader that is right for it."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from timechat.datasets.readers.base import VideoReader
from timechat.datasets.readers.look import Look, look_at
from timechat.datasets.readers.look_cache import kept_look
from timechat.datasets.readers.pyav import PyAVReader
from timechat.errors import ConfigError, VideoError

try:
    from timechat.datasets.readers.decord import DecordReader, Disagreement
except (ImportError, OSError, RuntimeError):  # not installed, or its library does not load on this system
    HAS_DECORD = False
else:
    HAS_DECORD = True

# A look at two hours with 30 frames a second takes 4 MB.
_LOOKS = 32


def open_here(name: str, image_size: int | None, choice: str = "auto", looks_dir: str = "") -> VideoReader:
    """Open a video in this process; see `open_video`.

    Raises:
        VideoError: the file is damaged or not a video, or `choice` is "decord", which would be wrong about it.
        ConfigError: `choice` is "decord", which cannot be imported.
    """
    if choice == "decord" and not HAS_DECORD:
        raise ConfigError(
            "model.video_reader=decord: decord cannot be imported on this machine; install it (pip install decord, on "
            "x86-64) or set model.video_reader=auto"
        )
    status = os.stat(name)
    look = _look(os.path.abspath(name), status.st_size, status.st_mtime_ns, looks_dir)
    if choice == "pyav" or not HAS_DECORD:
        return PyAVReader(name, image_size, look)
    doubts = "; ".join(look.doubts)
    if not doubts:
        try:
            reader: VideoReader = DecordReader(name, image_size, look)
            return reader if choice == "decord" else _Either(reader, PyAVReader(name, image_size, look))
        except Disagreement as disagreement:
            doubts = str(disagreement)
        except VideoError:
            if choice == "decord":
                raise
            doubts = "decord cannot read it"
    if choice == "decord":
        raise VideoError(
            name,
            f"decord may give wrong frames of this file ({doubts}). Set model.video_reader=auto, which reads such "
            "files with PyAV.",
        )
    return PyAVReader(name, image_size, look, doubts)


class _Either:
    """decord, and PyAV where it fails: packets that look right may hold damaged frames. See `VideoReader`."""

    def __init__(self, first: VideoReader, second: VideoReader) -> None:
        self._first, self._second = first, second
        self.spans, self.fps, self.how = first.spans, first.fps, first.how

    def read(self, indices: list[int]) -> tuple[NDArray[Any], list[int]]:
        try:
            return self._first.read(indices)
        except VideoError:
            return self._second.read(indices)


@lru_cache(maxsize=_LOOKS)
def _look(name: str, size: int, changed: int, looks_dir: str) -> Look:
    """The look at a file of that size and time of change, from `looks_dir` if it is there."""
    return kept_look(name, size, changed, looks_dir) if looks_dir else look_at(name)
