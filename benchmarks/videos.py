"""Video files for benchmarks: a square that moves over noise that drifts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(path: Path, seconds: int, fps: int, side: int, codec: str = "libx264", **options: str) -> Path:
    """Write a video of so many seconds, `side` pixels square; options are the encoder's. Returns the path."""
    noise = (
        np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.options = side, side, "yuv420p", options
        for index in range(seconds * fps):
            picture = np.roll(noise, index, axis=1)
            left = index * 3 % (side - side // 4)
            picture[side // 4 : side // 2, left : left + side // 4] = index % 256
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
