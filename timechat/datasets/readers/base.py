"""The interface of video readers, and the errors that they share."""

from __future__ import annotations

import os
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from timechat.errors import VideoError

# No frame takes fewer bytes: its entry in the index alone takes this many.
MIN_FRAME_BYTES = 4

_FIX = "Download it again, re-encode it as H.264 or remove its entry."


class VideoReader(Protocol):
    """An open video file.

    Attributes:
        spans: float32 [V, 2], start and end of each frame's display, in display order, seconds from the first frame.
        fps: average frame rate, frames per second; not above 0, or NaN, if the file does not say.
    """

    spans: NDArray[Any]
    fps: float

    def __init__(self, name: str, image_size: int | None) -> None:
        """Open `name`; frames will be squashed to a square of side image_size. Raises VideoError."""

    def read(self, indices: list[int]) -> torch.Tensor:
        """Decode frames.

        Args:
            indices: strictly increasing, below V; at least one.

        Returns:
            uint8 [T, 3, H, W], RGB, contiguous, rotated upright as the file says.

        Raises:
            VideoError: a frame cannot be decoded.
        """


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
    return VideoError(name, f"cannot be decoded ({reason}). The file is damaged, truncated or not a video. {_FIX}")


def one_line(error: BaseException) -> str:
    """An exception's message, as one line of limited length."""
    return str(error).split("\n")[0][:200].strip() or type(error).__name__
