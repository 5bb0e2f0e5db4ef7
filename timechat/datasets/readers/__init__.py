"""Readers of video files, and the one place that opens them.

The contract (`VideoReader`) is frames by presentation time, on the clock of a player. decord fulfils it for files that
a look at their packets (`look.py`) proves it to be right about: there its pixels are the published ones. PyAV fulfils
it for all others, with the same scaling, and wherever decord cannot be imported: decord has wheels only for x86-64, on
Linux and Windows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timechat.datasets.readers.base import VideoReader
from timechat.datasets.readers.guard import GuardedReader
from timechat.datasets.readers.local import HAS_DECORD, open_here
from timechat.datasets.readers.look_cache import user_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["AUTO", "HAS_DECORD", "VERSION", "ReaderSettings", "VideoReader", "open_video"]

# Part of the key of cached frames: raise the number when frames or seconds of any file change.
VERSION = "reader 2, decord and pyav" if HAS_DECORD else "reader 2, pyav"


@dataclass(frozen=True)
class ReaderSettings:
    """How videos are read.

    Attributes:
        reader: auto (decord where it is proven right, else PyAV) | decord (its doubtful files are errors) | pyav.
        timeout_s: seconds that opening a video, or reading frames of it, may take; None reads in this process, where a
            file that hangs it cannot be left.
        looks_dir: folder that keeps the looks at packets; "" looks again in each process.
    """

    reader: str = "auto"
    timeout_s: float | None = 120.0
    looks_dir: str = ""

    @classmethod
    def of(cls, model: DictConfig, looks_dir: str = "") -> ReaderSettings:
        """The settings of a config's `model` section; a `looks_dir` is used in place of `model.looks_dir`."""
        chosen = user_folder() if model.looks_dir is None else os.path.expanduser(model.looks_dir)
        return cls(model.video_reader, model.video_timeout_s, looks_dir or chosen)


AUTO = ReaderSettings()


def open_video(name: str, image_size: int | None, settings: ReaderSettings = AUTO) -> VideoReader:
    """Open a video, by default with the reader that is right for it, and with a limit on the time.

    Args:
        name: the file.
        image_size: side in pixels of the square to which frames are squashed; None keeps their size.
        settings: how to read it.

    Raises:
        VideoError: the file is damaged or not a video, took too long, or is one that `settings.reader` is wrong about.
        ConfigError: `settings.reader` cannot be imported.
    """
    if settings.timeout_s is None:
        return open_here(name, image_size, settings.reader, settings.looks_dir)
    return GuardedReader(name, image_size, settings.reader, settings.timeout_s, settings.looks_dir)
