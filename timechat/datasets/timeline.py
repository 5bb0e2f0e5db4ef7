"""When the frames of a video are shown, by what its file says. Without torch: some processes only handle files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Timestamps within this many seconds of index / fps count as constant rate: containers round to milliseconds.
CONSTANT_RATE_TOLERANCE = 1e-3


def frame_seconds(timestamps: NDArray[Any], fps: float) -> NDArray[Any]:
    """When each frame of a video is shown.

    At a constant frame rate this is index / fps, without the rounding of the file's clock, and later by what the video
    begins later than the file (its sound, mostly). At a variable frame rate, where the average rate would be wrong by
    seconds, it is the file's timestamp.

    Args:
        timestamps: float [V], the timestamp of every frame, seconds from the start of the file.
        fps: average frame rate, frames per second.

    Returns:
        float64 [V], seconds.
    """
    begin = constant_rate_begin(timestamps, fps)
    if begin is None:
        return np.asarray(timestamps, dtype=np.float64)
    return begin + np.arange(len(timestamps), dtype=np.float64) / fps


def constant_rate_begin(timestamps: NDArray[Any], fps: float) -> float | None:
    """Where a video of constant frame rate begins, seconds: every frame is within a millisecond of that + index / fps.

    Args:
        timestamps: float [V], the timestamp of every frame, seconds from the start of the file.
        fps: average frame rate, frames per second.

    Returns:
        Exactly 0 if it begins with the file; None if the rate is not constant.
    """
    if not (np.isfinite(fps) and fps > 0):
        return None
    stamps = np.asarray(timestamps, dtype=np.float64)
    ahead = stamps - np.arange(len(stamps), dtype=np.float64) / fps
    late = abs(float(stamps[0])) >= CONSTANT_RATE_TOLERANCE
    # The middle, because the first timestamp is rounded as well, by half a millisecond in Matroska.
    begin = (float(ahead.min()) + float(ahead.max())) / 2 if late else 0.0
    # Times may come in single precision, which is coarser than a millisecond after four hours.
    precision = np.spacing(np.abs(stamps).astype(np.float32)).astype(np.float64)
    return begin if np.all(np.abs(ahead - begin) < CONSTANT_RATE_TOLERANCE + precision) else None


def video_duration(spans: NDArray[Any], fps: float) -> float:
    """End of the last frame, seconds; if the file does not say, the frame has the average length.

    Args:
        spans: float64 [V, 2], start and end of each frame's display, as readers give them.
        fps: average frame rate, frames per second.
    """
    times, reported = spans[:, 0], float(spans[-1, 1])
    begin, count = constant_rate_begin(times, fps), len(spans)
    if begin is not None:
        return begin + count / fps
    if count > 1 and reported <= times[-1]:
        return float(times[-1] + (times[-1] - times[0]) / (count - 1))
    return reported
