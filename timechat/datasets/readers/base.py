"""What a reader of video files offers, and the errors that all readers share."""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import torch

from timechat.errors import VideoError

# No frame takes fewer: its entry in the index alone takes this much.
MIN_FRAME_BYTES = 4

_FIX = "Download it again, re-encode it as H.264 or remove its entry."


class VideoReader(Protocol):
    """An open video file.

    Attributes:
        spans: float32 [V, 2], from when to when each frame is shown, in the order of display, seconds from the first.
        fps: average frame rate, frames per second; not above 0, or NaN, where the file does not say.
    """

    spans: np.ndarray
    fps: float

    def __init__(self, name: str, image_size: int | None) -> None:
        """Open `name`; frames will be squashed to a square of side image_size. Raises VideoError."""

    def read(self, indices: list[int]) -> torch.Tensor:
        """Decode frames.

        Args:
            indices: strictly increasing, below V; at least one.

        Returns:
            uint8 [T, 3, H, W], RGB, contiguous, turned upright where the file says that it was filmed on its side.

        Raises:
            VideoError: a frame cannot be decoded.
        """


def refuse_false_promise(name: str, promised: int) -> None:
    """Refuse a header that promises more frames than the file can hold.

    decord would reserve memory for them all, and end the process when there is none.

    Raises:
        VideoError: it does.
    """
    if promised > os.path.getsize(name) / MIN_FRAME_BYTES:
        raise VideoError(name, f"its header promises {promised} frames, too many for the file's size. {_FIX}")


def undecodable(name: str, reason: str) -> VideoError:
    """The error for a file that a decoder gives up on."""
    return VideoError(name, f"cannot be decoded ({reason}). The file is damaged, cut short or no video. {_FIX}")


def one_line(error: BaseException) -> str:
    """What an exception says, in one line that is not too long."""
    return str(error).split("\n")[0][:200].strip() or type(error).__name__
