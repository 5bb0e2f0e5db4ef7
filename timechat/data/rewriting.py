"""One video from its file to a new one, in a process of its own: look, plan, write, and look at what was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from timechat.data.encoding import Encoding, write_with_pyav
from timechat.data.ffmpeg import write_with_ffmpeg
from timechat.data.frame_plan import FramePlan, Part, plan_frames
from timechat.datasets.readers.base import check_file
from timechat.datasets.readers.header import read_header
from timechat.datasets.readers.look import look_at
from timechat.datasets.timeline import frame_seconds
from timechat.errors import VideoError

# FFmpeg's formats that hold H.264, by suffix; "" for files named without one, as QuerYD's are.
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", "": "mp4"}

# Seconds by which a written frame may be off: the milliseconds of Matroska.
_OFF_BY = 2e-3


@dataclass(frozen=True)
class VideoJob:
    """A file to make.

    Attributes:
        source: the video.
        target: the new file, with a suffix of `FORMATS`.
        part: which part of it.
    """

    source: str
    target: str
    part: Part = field(default_factory=Part)


@dataclass(frozen=True)
class Written:
    """What a worker has made of a video.

    Attributes:
        frames: how many.
        seconds: how long it lasts.
        short_by: seconds by which the original ends before the part that was asked for.
        by_ffmpeg: whether ffmpeg wrote it, or PyAV.
    """

    frames: int
    seconds: float
    short_by: float
    by_ffmpeg: bool


def rewrite(job: VideoJob, temporary: Path, encoding: Encoding, writer: str) -> Written:
    """Make a file.

    Args:
        job: what to make.
        temporary: where to write it.
        encoding: the settings.
        writer: ffmpeg (for what it is right about; PyAV writes the rest) | pyav.

    Raises:
        VideoError: the video is missing, damaged or too short, or what was written is not what was planned.
    """
    check_file(job.source, "video")
    look = look_at(job.source)
    plan = plan_frames(job.source, look, job.part, encoding.fps)
    with_ffmpeg = writer == "ffmpeg" and plan.constant and not look.doubts
    write = write_with_ffmpeg if with_ffmpeg else write_with_pyav
    write(job.source, temporary, FORMATS[Path(job.target).suffix.lower()], plan, look, encoding)
    _check(job.source, temporary, plan)
    return Written(len(plan.seconds), plan.duration, plan.short_by, with_ffmpeg)


def is_whole(path: str) -> bool:
    """Whether a file is a video that can be read to its end."""
    try:
        check_file(path, "video")
        read_header(path)
    except VideoError:
        return False
    return True


def _check(source: str, temporary: Path, plan: FramePlan) -> None:
    """Whether a written file shows its frames at the planned times; how long the last one of the original lasts is
    something that programs disagree about.

    Raises:
        VideoError: it does not.
    """
    written = look_at(str(temporary))
    times: np.ndarray[Any, Any] = frame_seconds(written.spans()[:, 0], written.fps)
    last = int(np.searchsorted(plan.stamps, plan.stamps[-1]))  # the first of the frames that show it
    least = last + 1 if plan.constant else len(plan.seconds)
    if not least <= len(times) <= len(plan.seconds):
        raise VideoError(source, f"{len(times)} frames were written instead of {len(plan.seconds)}. {_FIX}")
    off = float(np.abs(times - plan.seconds[: len(times)]).max())
    if off > _OFF_BY:
        raise VideoError(source, f"a frame was written {off:.3f} s off its time. {_FIX}")


_FIX = "Take --with pyav, or download it again."
