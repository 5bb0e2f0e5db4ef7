"""Writing a video anew: the settings, and writing it with PyAV. Without torch, for processes that do nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType
from av.video.stream import VideoStream

from timechat.data.frame_plan import FramePlan
from timechat.datasets.readers.base import AV_ERRORS, one_line, undecodable
from timechat.datasets.readers.display import Fit, Scaler
from timechat.datasets.readers.look import Look
from timechat.datasets.readers.pyav import Display

CODEC = "libx264"
PIXELS = "yuv420p"
INTERPOLATION = "bicubic"

# Of written files: whole milliseconds, and the frames of 24, 25, 30, 60 and 30000/1001 a second, are whole numbers.
TICKS_PER_SECOND = 90000

# A file of whose frames fewer can be decoded is refused, as when it is read.
_LEAST_LEFT = 0.5


@dataclass(frozen=True)
class Encoding:
    """How a video is written.

    Attributes:
        fps: frames per second; None keeps the frames as they are.
        short_side: of the picture, in pixels; a smaller picture keeps its size, and None keeps every size.
        crf: quality of H.264, from 0 (no loss) to 51.
    """

    fps: float | None = None
    short_side: int | None = None
    crf: int = 18


def fit(short_side: int | None) -> Fit:
    """The size of the new picture: smaller if its short side is above that, with even sides, as H.264 has them."""

    def size(width: int, height: int) -> tuple[int, int]:
        scale = 1.0 if short_side is None else min(1.0, short_side / min(width, height))
        return _even(width * scale), _even(height * scale)

    return size


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def encoder_options(encoding: Encoding, rate: float) -> dict[str, str]:
    """Options of x264: a key frame every second, which needs nothing before it; one thread, as workers run in parallel.

    Args:
        encoding: the settings.
        rate: frames per second of the new file.
    """
    every = max(1, round(rate))
    groups = f"keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:threads=1"
    return {"crf": str(encoding.crf), "preset": "medium", "x264-params": groups}


def write_with_pyav(
    source: str, target: Path, container_format: str, plan: FramePlan, look: Look, encoding: Encoding
) -> None:
    """Write the planned frames of a file, upright and without sound.

    Where frames are damaged, the one before stays, as in players and in this package's readers.

    Args:
        source: the file.
        target: where to; its suffix does not matter.
        container_format: FFmpeg's name of the format to write.
        plan, look: of `source`.
        encoding: the settings.

    Raises:
        VideoError: fewer than half of the frames can be decoded, or writing them fails.
    """
    try:
        with av.open(source) as old, av.open(str(target), "w", format=container_format) as new:
            shown = _write(Display(source, old, look), new, plan, encoding)
    except AV_ERRORS as error:
        raise undecodable(source, one_line(error)) from error
    wanted = len(np.unique(plan.stamps))
    if shown < _LEAST_LEFT * wanted:
        raise undecodable(source, f"only {shown} of {wanted} frames are left of it")


def _write(display: Display, new: OutputContainer, plan: FramePlan, encoding: Encoding) -> int:
    """Write all frames; returns how many different ones there were."""
    scaler = Scaler(fit(encoding.short_side), PIXELS, INTERPOLATION)
    ticks = np.round(np.append(plan.seconds, plan.duration) * TICKS_PER_SECOND).astype(np.int64)
    durations = dict(zip(ticks[:-1].tolist(), np.diff(ticks).tolist(), strict=True))
    stream, last, shown = None, None, 0
    for stamp, tick in zip(plan.stamps.tolist(), durations, strict=True):
        frame = display.at(stamp)
        if stream is None or frame.pts != last:
            picture, last, shown = scaler.scaled(frame), frame.pts, shown + 1
            picture.pict_type = PictureType.NONE  # otherwise key frames would be where the original has them
        stream = stream or _add_stream(new, picture, plan.rate, encoding)
        picture.pts, picture.time_base = tick, Fraction(1, TICKS_PER_SECOND)
        _mux(new, stream.encode(picture), durations)
    if stream is not None:
        _mux(new, stream.encode(), durations)
    return shown


def _add_stream(new: OutputContainer, picture: av.VideoFrame, rate: float, encoding: Encoding) -> VideoStream:
    fraction, options = Fraction(rate).limit_denominator(1001), encoder_options(encoding, rate)
    stream = cast(VideoStream, new.add_stream(CODEC, rate=fraction, options=options))
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, PIXELS
    stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
    return stream


def _mux(new: OutputContainer, packets: list[Packet[VideoStream]], durations: dict[int, int]) -> None:
    """Write packets with the durations of their frames: the last frame stays on display until the end."""
    for packet in packets:
        if packet.pts is not None:
            packet.duration = durations[packet.pts]
        new.mux(packet)
