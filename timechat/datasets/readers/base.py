"""The interface of video readers, and the errors that they share.

This package does without torch: the process that reads videos (`child.py`) starts in a fraction of a second and needs
50 MB.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

import av
from numpy.typing import NDArray

from timechat.errors import VideoError
from timechat.lfs import pointer_problem

# No frame takes fewer bytes: its entry in the index alone takes this many.
MIN_FRAME_BYTES = 4

# What PyAV raises for damaged files. ValueError: a name that is not valid text. IndexError, OverflowError: numbers in
# a damaged header.
AV_ERRORS = (av.FFmpegError, ValueError, IndexError, OverflowError)

_FIX = "Download it again, re-encode it as H.264 or leave it out."


class VideoReader(Protocol):
    """An open video file.

    Attributes:
        spans: float64 [V, 2], start and end of each frame's display, in display order; seconds on the player's clock,
            whose zero is the start of the container (the first picture or sound).
        fps: average frame rate, frames per second; not above 0, or NaN, if the file does not say.
        how: which library reads it, and why, for people.
    """

    spans: NDArray[Any]
    fps: float
    how: str

    def read(self, indices: list[int]) -> tuple[NDArray[Any], list[int]]:
        """Decode frames.

        Args:
            indices: strictly increasing, below V; at least one.

        Returns:
            uint8 [T, 3, H, W], RGB, contiguous, rotated upright as the file says; and which frames they are. These are
            `indices`, except where frames are lost: there it is the one that stays on display, and if it is one that
            was taken already, T is smaller.

        Raises:
            VideoError: the frames cannot be decoded.
        """


def check_file(name: str, kind: str) -> None:
    """Refuse anything but a plain file: opening a pipe would wait forever.

    Args:
        name: the file.
        kind: video | image, for messages.

    Raises:
        VideoError: it is missing, empty, not a file, or a git-lfs pointer.
    """
    if not os.path.exists(name):
        raise VideoError(name, f"no such {kind} file. Check its path, in a config videos_dir and the annotation.")
    if os.path.isdir(name):
        raise VideoError(name, f"is a directory. Name the {kind} file itself.")
    if not os.path.isfile(name):
        raise VideoError(name, f"is not a regular file. Name a {kind} file.")
    if os.path.getsize(name) == 0:
        raise VideoError(name, "the file is empty. Download it again or leave it out.")
    if problem := pointer_problem(name):
        raise VideoError(name, f"{problem}.")


def refuse_false_promise(name: str, promised: int) -> None:
    """Refuse a header that promises more frames than the file can hold.

    decord would reserve memory for all of them, and end the process if there is not enough.

    Raises:
        VideoError: it promises too many.
    """
    if promised > os.path.getsize(name) / MIN_FRAME_BYTES:
        raise VideoError(name, f"its header promises {promised} frames, too many for the file's size. {_FIX}")


def undecodable(name: str, reason: str) -> VideoError:
    """The error for a file that cannot be decoded."""
    return VideoError(name, f"cannot be decoded ({reason}). {_FIX}")


def cannot_open(name: str, error: Exception) -> VideoError:
    """The error for a file in which no reader finds a video."""
    if isinstance(error, PermissionError):
        return VideoError(name, "may not be read (permission denied). Change its permissions, or leave it out.")
    if isinstance(error, av.error.InvalidDataError):
        return undecodable(name, "the file is damaged, truncated or not a video")
    return undecodable(name, one_line(error))


def one_line(error: BaseException) -> str:
    """An exception's message, as one line of limited length; of a system's error only what went wrong."""
    message = getattr(error, "strerror", None) or str(error)
    return message.split("\n")[0][:200].strip() or type(error).__name__
