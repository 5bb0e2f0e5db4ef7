"""Tiny video files for tests, written with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# mpeg4 takes no finer one.
TIME_BASE = Fraction(1, 60000)


def gray_frames(count: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Flat frames from dark to bright, so that a frame's brightness says which one it is.

    Returns:
        uint8 [count, height, width, 3].
    """
    width, height = size
    levels = (20 + np.arange(count) * 200 // max(1, count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def write_video(
    path: str | Path,
    frames: int | np.ndarray = 20,
    fps: float | Fraction = 10,
    size: tuple[int, int] = (64, 48),
    times: list[float] | None = None,
    codec: str = "libx264",
    faststart: bool = False,
    gop: int = 5,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Write a small video.

    Args:
        path: where; the suffix chooses the container.
        frames: how many gray frames, or the frames themselves, uint8 [T, H, W, 3].
        fps: frames per second.
        size: (width, height) of gray frames.
        times: seconds of every frame, for a variable frame rate.
        codec: encoder.
        faststart: index in front of the frames, so that a cut file still opens.
        gop: frames from one key frame to the next.
        codec_options: of the encoder.

    Returns:
        The path.
    """
    pictures = gray_frames(frames, size) if isinstance(frames, int) else frames
    rate = Fraction(fps).limit_denominator(1001)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.options = codec_options or {}
        stream.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = TIME_BASE
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is None:
                frame.pts, frame.time_base = index, 1 / rate
            else:
                frame.pts, frame.time_base = round(times[index] / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Path(path)
