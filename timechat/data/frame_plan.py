"""Which frames of a video a re-encoded file shows, and when: what players show of the original at those seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.datasets.readers.look import Look
from timechat.datasets.timeline import CONSTANT_RATE_TOLERANCE, frame_seconds, video_duration
from timechat.errors import VideoError

# A frame is on display at t if its time is at most this much later: containers round to milliseconds.
ROUNDING_S = CONSTANT_RATE_TOLERANCE

# A rate that is so little higher than the usual one of a video is the same: containers round to milliseconds.
_ABOUT = 1.02

# A frame that stays on display for longer, in seconds, is none: the file's clock has jumped.
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Part:
    """A part of a video, seconds on the player's clock; None: its beginning, its end."""

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class FramePlan:
    """The frames of a re-encoded file.

    Attributes:
        stamps: int64 [N], times of the frames in the original, in its ticks; a frame may come several times.
        seconds: float64 [N], when the new file shows each, increasing from 0.
        begin: seconds of the original at which the new file begins.
        reach: seconds of the original from the middle before its first frame that is shown to the middle after the last
            one; infinite where there is none before or after.
        duration: of the new file, seconds.
        rate: its frames per second, on average.
        constant: whether its frames come at the rate that was asked for, and are not those of the original.
        short_by: seconds by which the original ends before the part that was asked for.
    """

    stamps: NDArray[np.int64]
    seconds: NDArray[Any]
    begin: float
    reach: tuple[float, float]
    duration: float
    rate: float
    constant: bool
    short_by: float


def plan_frames(name: str, look: Look, part: Part, fps: float | None) -> FramePlan:
    """Choose the frames of a part.

    The new file begins with the frame that the original shows at the start of the part. A picture that begins later
    than the file, after its sound, is shown from the beginning, so that all later ones keep their times.

    Args:
        name: the file, for messages.
        look: at its packets.
        part: which part of it.
        fps: frames per second of the new file; None keeps the frames as they are, and so does a video that usually has
            fewer: more frames would show nothing more.

    Raises:
        VideoError: the part is empty, or begins after the end of the video, or the times of the video cannot be right.
    """
    spans = look.spans()
    times, length = frame_seconds(spans[:, 0], look.fps), video_duration(spans, look.fps)
    if (jump := float(np.diff(times).max(initial=0.0))) > _LONGEST_S:
        raise VideoError(name, f"its times jump by {jump:.0f} s from one frame to the next. Download it again.")
    begin, end = part.start or 0.0, length if part.end is None else part.end
    _check(name, begin, end, length)
    stop = min(end, length)
    constant = fps is not None and fps <= _ABOUT * _usual_rate(times)
    if fps is None or not constant:
        first = int(_on_display(times, np.array([begin]))[0])
        after = int(np.searchsorted(times, stop - ROUNDING_S, side="left"))
        indices = np.arange(first, max(after, first + 1))
        seconds = np.maximum(times[indices] - begin, 0.0)
        seconds[0] = 0.0
        rate = len(indices) / (stop - begin)
    else:
        seconds = np.arange(max(1, math.ceil((stop - begin - ROUNDING_S) * fps))) / fps
        indices, rate = _on_display(times, begin + seconds), fps
    middles = np.concatenate([[-math.inf], (times[1:] + times[:-1]) / 2, [math.inf]])
    reach = float(middles[indices[0]]), float(middles[indices[-1] + 1])
    return FramePlan(look.stamps[indices], seconds, begin, reach, stop - begin, rate, constant, max(0.0, end - length))


def _check(name: str, begin: float, end: float, length: float) -> None:
    if not 0 <= begin < end:
        raise VideoError(name, f"cannot be cut from {begin:g} s to {end:g} s. Give 0 <= start < end.")
    if begin >= length:
        raise VideoError(name, f"lasts {length:.3f} s: there is nothing from {begin:g} s to {end:g} s.")


def _usual_rate(times: NDArray[Any]) -> float:
    """Frames per second, whatever gaps there are; infinite for a single frame."""
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return 1 / usual if usual > 0 else math.inf


def _on_display(times: NDArray[Any], seconds: NDArray[Any]) -> NDArray[Any]:
    """Indices of the frames on display at those seconds; before the first one comes, that one."""
    return np.maximum(np.searchsorted(times, seconds + ROUNDING_S, side="right") - 1, 0)
