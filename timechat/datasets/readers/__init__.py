"""Readers of video files, and the one place that chooses between them.

decord has wheels only for x86-64, on Linux and Windows. Where it cannot be imported, PyAV reads the same frames with
the same times, and on the test videos with the same pixels.
"""

from __future__ import annotations

from timechat.datasets.readers.base import VideoReader
from timechat.datasets.readers.pyav import PyAVReader

try:
    from timechat.datasets.readers.decord import DecordReader
except (ImportError, OSError, RuntimeError):  # not installed, or its library does not load on this system
    READERS: dict[str, type[VideoReader]] = {"pyav": PyAVReader}
else:
    READERS = {"decord": DecordReader, "pyav": PyAVReader}

# The reader of every video of this process.
READER = next(iter(READERS))


def open_video(name: str, image_size: int | None) -> VideoReader:
    """Open a video with the reader of this process.

    Args:
        name: the file.
        image_size: side in pixels of the square to which frames are squashed; None keeps their size.

    Raises:
        VideoError: the file is damaged or not a video.
    """
    return READERS[READER](name, image_size)
