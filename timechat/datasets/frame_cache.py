"""Decoded frames cached on disk, for small datasets and many epochs, where decoding is most of the work."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from timechat.datasets import readers
from timechat.datasets.video import Video
from timechat.io import sha256_of, write_bytes

logger = logging.getLogger(__name__)

# Part of every key, so that entries written with another layout are never read.
LAYOUT = "uint8 [T, 3, H, W]"


@dataclass(frozen=True)
class FrameCache:
    """Wraps a function that reads videos, so that each file is decoded only once.

    A file that has changed is decoded again, and so is one whose entry is damaged. Processes may share a cache. When an
    entry cannot be written, because the disk is full or read-only, nothing more is written, with one warning; what is
    cached is read as before, and the rest is decoded.

    Attributes:
        load: reads a file, (path, generator, start and end of a clip) -> Video; the same clip of a file must always
            give the same frames.
        folder: of the cache, with one file per video; created if missing.
        settings: what else the frames depend on, such as their number and size.
        closed: [1], whether nothing more is written; shared with the worker processes.
    """

    load: Callable[..., Video]
    folder: str
    settings: str
    closed: torch.Tensor = field(
        default_factory=lambda: torch.zeros(1, dtype=torch.bool).share_memory_(), repr=False, compare=False
    )

    def __call__(self, path: str, generator: torch.Generator, **part: float) -> Video:
        """Return the frames of a video, from the cache if it has them. Raises what `load` raises."""
        try:
            entry = self._entry(path, part)
            cached = entry.is_file()
        except OSError:  # no such file, or worse; `load` reports what is wrong
            return self.load(path, generator, **part)
        if cached:
            try:
                return _read(entry)
            except (SafetensorError, KeyError, ValueError, OSError) as error:
                logger.warning("%s is damaged (%s); decoding %s again", entry, error, path)
        video = self.load(path, generator, **part)
        if not self.closed:
            self._keep(entry, video)
        return video

    def _keep(self, entry: Path, video: Video) -> None:
        try:
            _write(entry, video)
        except OSError as error:
            self.closed.fill_(True)
            logger.warning("%s: cannot be written to (%s); further videos are not cached", self.folder, error)

    def _entry(self, path: str, part: Mapping[str, float]) -> Path:
        status = os.stat(path)
        file = f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"
        file += f"|{part['start']} - {part['end']} s" if part else ""
        key = f"{file}|{self.settings}|{readers.VERSION}|{LAYOUT}"
        return Path(self.folder) / f"{sha256_of(key)[:32]}.safetensors"


def _read(entry: Path) -> Video:
    with safe_open(str(entry), framework="pt") as file:
        seconds, numbers = file.get_tensor("seconds"), file.get_tensor("fps_duration").tolist()
        return Video(file.get_tensor("frames"), seconds.tolist(), *numbers)


def _write(entry: Path, video: Video) -> None:
    tensors = {
        "frames": video.frames,
        "seconds": torch.tensor(video.seconds, dtype=torch.float64),
        "fps_duration": torch.tensor([video.fps, video.duration], dtype=torch.float64),
    }
    write_bytes(entry, save(tensors))  # `save_file` would not raise an OSError
