"""From a file to frames: decode a video or an image into uint8 frames and their times in seconds.

Pure functions decide which frames are sampled (`uniform_indices`, `random_indices`, `head_tail_indices`); `load_video`,
`load_frame_folder` and `load_image` read them. Videos are read in a process that can be killed
(`timechat/datasets/readers`).
"""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from timechat.datasets import readers
from timechat.datasets.pictures import read_picture
from timechat.datasets.readers import AUTO, ReaderSettings
from timechat.datasets.readers.base import check_file
from timechat.datasets.timeline import frame_seconds, video_duration
from timechat.errors import ConfigError, VideoError

logger = logging.getLogger(__name__)

SAMPLINGS = ("uniform", "rand", "headtail")

# Tolerance of a clip's borders: a frame at 2.0000001 s belongs to a clip that ends, or starts, at 2.0 s.
CLIP_TOLERANCE = 1e-6

# Files that `load_frame_folder` reads as frames; it ignores other files of the folder (lists, thumbnails).
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass
class Video:
    """Frames of a video, or the one frame of an image.

    Attributes:
        frames: uint8 [T, 3, H, W], RGB, contiguous.
        seconds: T floats, when a player shows each frame, in seconds from the start of the file (or of the clip).
        fps: average frame rate of the file, frames per second (0.0 for an image).
        duration: seconds of the video, or of the clip (0.0 for an image).
    """

    frames: torch.Tensor
    seconds: list[float]
    fps: float
    duration: float


def uniform_indices(num_video_frames: int, n_frms: int) -> list[int]:
    """Uniform sampling: evenly spaced frames, including the first.

    Args:
        num_video_frames: V, frames of the video.
        n_frms: frames wanted.

    Returns:
        Exactly min(n_frms, V) strictly increasing indices, all below V.

    Raises:
        ConfigError: n_frms is below 1 or num_video_frames below 0.
    """
    count = _frame_count(num_video_frames, n_frms)
    # Counting the steps, not the distance: arange(0, V, V / n) yields one index too many for some n.
    step = num_video_frames / count if count else 0.0
    return [int(i * step) for i in range(count)]


def random_indices(num_video_frames: int, n_frms: int, generator: torch.Generator) -> list[int]:
    """Segment sampling: one random frame from each of n equal segments, never a segment's last frame.

    If a segment has only one frame, n sorted distinct random frames are taken instead.

    Args:
        num_video_frames: V, frames of the video.
        n_frms: frames wanted.
        generator: the only source of randomness.

    Returns:
        Exactly min(n_frms, V) strictly increasing indices, all below V.

    Raises:
        ConfigError: n_frms is below 1 or num_video_frames below 0.
    """
    count = _frame_count(num_video_frames, n_frms)
    # In floating point, as in the published code: a border may come out one frame before the exact one.
    borders = np.linspace(0, num_video_frames, count + 1).astype(int).tolist() if count else []
    widths = [right - 1 - left for left, right in itertools.pairwise(borders)]
    if all(width > 0 for width in widths):
        return [
            left + int(torch.randint(width, (1,), generator=generator))
            for left, width in zip(borders, widths, strict=False)
        ]
    return sorted(torch.randperm(num_video_frames, generator=generator)[:count].tolist())


def head_tail_indices(num_video_frames: int, n_frms: int, generator: torch.Generator) -> list[int]:
    """Random distinct frames, half of them from the first half of the video and half from the second.

    With an odd number the second half gives one more. (The published code then takes one frame less.)

    Args, returns and errors as for `random_indices`.
    """
    count, middle = _frame_count(num_video_frames, n_frms), num_video_frames // 2
    head = torch.randperm(middle, generator=generator)[: count // 2]
    tail = torch.randperm(num_video_frames - middle, generator=generator)[: count - count // 2]
    return [*sorted(head.tolist()), *sorted((middle + tail).tolist())]


def frames_by_rate(seconds: float, fps: float, most: int) -> int:
    """How many frames are sampled from a video at a rate: the nearest number, from 1 to `most`.

    Args:
        seconds: length of the video, or of the clip.
        fps: frames per second.
        most: upper bound; above it, the frames are further apart.
    """
    return min(most, max(1, int(seconds * fps + 0.5)))


def _frame_count(num_video_frames: int, n_frms: int) -> int:
    if n_frms < 1:
        raise ConfigError(f"n_frms is {n_frms}: ask for at least 1 frame.")
    if num_video_frames < 0:
        raise ConfigError(f"num_video_frames is {num_video_frames}: a video cannot have a negative number of frames.")
    return min(n_frms, num_video_frames)


def load_video(
    path: str | os.PathLike[str],
    n_frms: int = 96,
    image_size: int | None = 224,
    sampling: str = "uniform",
    generator: torch.Generator | None = None,
    start: float | None = None,
    end: float | None = None,
    settings: ReaderSettings = AUTO,
    fps: float | None = None,
) -> Video:
    """Decode sampled frames of a video, each squashed to a square without a crop.

    Args:
        path: the video file.
        n_frms: frames wanted; a video with fewer frames gives all of them.
        image_size: side of the square in pixels; None keeps the size of the file.
        sampling: "uniform" (evenly spaced), "rand" (segment sampling: a random frame from each of n_frms segments) or
            "headtail" (random frames, half of them from each half).
        generator: randomness of "rand" and "headtail".
        start: begin of the clip, seconds. The returned seconds count from here.
        end: end of the clip, seconds; an end after the last frame is the end of the video. Frames with
            start <= time < end are sampled; if there are none, the frame shown at `start` is taken.
        settings: which reader, and how long it may take (`ReaderSettings.of(model)` for a config).
        fps: frames per second of the clip, of which n_frms is then the upper bound; None samples n_frms.

    Returns:
        The sampled frames [T, 3, H, W] with T <= n_frms and their seconds. In place of a frame that cannot be decoded
        comes the one that stays on display, with its own time, at most once; the log says how many.

    Raises:
        VideoError: the file is missing, empty, damaged or not a video, took too long, the clip is outside of it, or
            n_frms is below 1.
        ConfigError: `sampling` is unknown, or is random without a generator, or image_size is below 1; or the reader
            cannot be imported.
    """
    name = os.fspath(path)
    _check_sampling(sampling, generator)
    _check_image_size(image_size)
    if n_frms < 1:
        raise VideoError(name, f"n_frms is {n_frms}; ask for at least 1 frame.")
    check_file(name, "video")
    reader = readers.open_video(name, image_size, settings)
    times, duration = frame_seconds(reader.spans[:, 0], reader.fps), video_duration(reader.spans, reader.fps)
    first, stop = _clip_range(name, times, duration, start, end)
    origin = 0.0 if start is None else float(start)
    clip_end = duration if end is None else min(float(end), duration)
    count = n_frms if fps is None else frames_by_rate(clip_end - origin, fps, n_frms)
    indices = [first + index for index in _sample(stop - first, count, sampling, generator)]
    frames, shown = reader.read(indices)
    if shown != indices:
        lost = len(set(indices) - set(shown))
        logger.warning("%s: %d of %d sampled frames cannot be decoded, the one before stays", name, lost, len(indices))
    seconds = [max(0.0, second - origin) for second in times[shown].tolist()]
    return Video(frames=torch.from_numpy(frames), seconds=seconds, fps=reader.fps, duration=clip_end - origin)


def load_image(path: str | os.PathLike[str], image_size: int | None = 224) -> Video:
    """Read an image as a video of one frame at 0.0 seconds, squashed to a square (bicubic).

    Args:
        path: the image file, in any format that Pillow reads, turned as its EXIF data says. Transparency is ignored,
            as in the published code, and of an animation the first picture is taken. White is 65535 with 16 bits, and
            1 in floats, or 255 if there are any above 1.
        image_size: side of the square in pixels; None keeps the size of the file.

    Returns:
        One frame [1, 3, H, W].

    Raises:
        VideoError: the file is missing, empty, damaged or not an image.
        ConfigError: image_size is below 1.
    """
    _check_image_size(image_size)
    frame = read_picture(os.fspath(path), image_size)
    return Video(frames=frame.unsqueeze(0), seconds=[0.0], fps=0.0, duration=0.0)


def load_frame_folder(
    path: str | os.PathLike[str],
    frame_rate: float,
    n_frms: int = 96,
    image_size: int | None = 224,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
) -> Video:
    """Read evenly spaced frames of a video that is stored as a folder of numbered pictures (00001.jpg, 00002.jpg, ...).

    Picture number k is shown from (k - 1) / frame_rate seconds on; the pictures are numbered from 1 without gaps. Only
    the sampled ones are opened.

    Args:
        path: the folder.
        frame_rate: pictures per second (3 in TVQA).
        n_frms, image_size: as for `load_video`.
        start, end: of the clip, as for `load_video`: seconds, and the returned seconds count from `start`.
        fps: as for `load_video`.

    Returns:
        The sampled frames [T, 3, H, W] with T <= n_frms and their seconds.

    Raises:
        VideoError: there is no such folder, it has no pictures, their numbers have gaps, a sampled one is damaged, they
            differ in size with image_size None, or the clip is outside of the video.
        ConfigError: frame_rate is not above 0, or n_frms or image_size is below 1.
    """
    name = os.fspath(path)
    _check_image_size(image_size)
    if not (np.isfinite(frame_rate) and frame_rate > 0):
        raise ConfigError(f"frame_rate is {frame_rate}; give the pictures per second, above 0.")
    pictures = _numbered_pictures(name)
    times = np.arange(len(pictures), dtype=np.float64) / frame_rate
    duration = len(pictures) / frame_rate
    first, stop = _clip_range(name, times, duration, start, end)
    origin = 0.0 if start is None else float(start)
    clip_end = duration if end is None else min(float(end), duration)
    count = n_frms if fps is None else frames_by_rate(clip_end - origin, fps, n_frms)
    indices = [first + index for index in uniform_indices(stop - first, count)]
    frames = [read_picture(pictures[index], image_size) for index in indices]
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError(name, "its pictures differ in size. Give an image_size, or make them equal.")
    seconds = [max(0.0, second - origin) for second in times[indices].tolist()]
    return Video(frames=torch.stack(frames), seconds=seconds, fps=float(frame_rate), duration=clip_end - origin)


def _numbered_pictures(folder: str) -> list[str]:
    """The pictures of a folder in the order of their numbers, which must be 1, 2, 3, ..."""
    if not os.path.isdir(folder):
        what = "is a file, not a folder of frames" if os.path.exists(folder) else "no such folder of frames"
        raise VideoError(folder, f"{what}. Check its path, in a config videos_dir and the annotation.")
    names = [name for name in os.listdir(folder) if name.lower().endswith(FRAME_SUFFIXES) and name[0] != "."]
    if not names:
        raise VideoError(folder, f"contains no frames ({', '.join(FRAME_SUFFIXES)}). Unpack it again.")
    numbered: dict[int, str] = {}
    for name in sorted(names):
        stem = os.path.splitext(name)[0]
        if not (stem.isascii() and stem.isdigit()):
            raise VideoError(folder, f"{name!r} is not a numbered frame such as 00001.jpg. Remove or rename it.")
        other = numbered.setdefault(int(stem), name)
        if other != name:
            raise VideoError(folder, f"{other!r} and {name!r} are the same frame. Remove one of them.")
    missing = next((number for number in range(1, len(names) + 1) if number not in numbered), None)
    if missing is not None:
        raise VideoError(
            folder, f"frame {missing} of {max(numbered)} is missing, so times would be wrong. Unpack it again."
        )
    return [os.path.join(folder, numbered[number]) for number in sorted(numbered)]


def _check_sampling(sampling: str, generator: torch.Generator | None) -> None:
    if sampling not in SAMPLINGS:
        raise ConfigError(f"sampling is {sampling!r}; choose one of {', '.join(SAMPLINGS)}.")
    if sampling != "uniform" and generator is None:
        raise ConfigError(f"sampling is {sampling!r} without a generator; pass a torch.Generator.")


def _check_image_size(image_size: int | None) -> None:
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}; give a side of at least 1 pixel, or None to keep the size.")


def _clip_range(
    name: str, times: NDArray[Any], duration: float, start: float | None, end: float | None
) -> tuple[int, int]:
    """Range of frame indices [first, stop) of a clip, never empty."""
    left = 0.0 if start is None else float(start)
    right = duration if end is None else float(end)
    whole = start is None and end is None
    # The last frame stays on display until the end; a video of one frame may not say how long.
    if not whole and not 0 <= left < min(right, max(duration, float(times[-1]) + CLIP_TOLERANCE)):
        until = "its end" if end is None else f"{end} s"
        raise VideoError(
            name,
            f"cannot be cut from {left:g} s to {until}: it lasts {duration:.3f} s. Give 0 <= start < end, and a start "
            "within that.",
        )
    first = int(np.searchsorted(times, left - CLIP_TOLERANCE, side="left"))
    stop = len(times) if end is None else int(np.searchsorted(times, right - CLIP_TOLERANCE, side="left"))
    if first < stop:
        return first, stop
    shown = max(0, int(np.searchsorted(times, left + CLIP_TOLERANCE, side="right")) - 1)
    return shown, shown + 1


def _sample(count: int, n_frms: int, sampling: str, generator: torch.Generator | None) -> list[int]:
    if sampling == "rand" and generator is not None:
        return random_indices(count, n_frms, generator)
    if sampling == "headtail" and generator is not None:
        return head_tail_indices(count, n_frms, generator)
    return uniform_indices(count, n_frms)
