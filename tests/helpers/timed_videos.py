"""Small videos whose pictures say which they are, in all shapes in which files come; and when players show them."""

from __future__ import annotations

import itertools
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from helpers.videos import write_video
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import load_video

WIDTH, HEIGHT = 80, 48
_ROWS, _COLUMNS = 3, 5  # of cells; black or white, they are the bits of a number
FPS = 10

X264 = {"x264-params": "bframes=2:b-adapt=0:scenecut=0:keyint=12:min-keyint=12"}
OPEN = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:min-keyint=12"}
OPEN_HEVC = {"x265-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:min-keyint=12:log-level=error"}


def numbered_pictures(count: int, first: int = 0) -> np.ndarray:
    """Pictures that say first, first + 1, ...: uint8 [count, HEIGHT, WIDTH, 3]."""
    cells = (np.arange(first, first + count)[:, None] >> np.arange(_ROWS * _COLUMNS)) & 1
    levels = np.where(cells, 235, 16).astype(np.uint8).reshape(count, _ROWS, _COLUMNS)
    large = levels.repeat(HEIGHT // _ROWS, axis=1).repeat(WIDTH // _COLUMNS, axis=2)
    return np.repeat(large[..., None], 3, axis=3)


def number_of(picture: np.ndarray) -> int:
    """What a picture [H, W, 3] of any size says."""
    gray = picture.astype(float).mean(2)
    height, width = gray.shape[0] / _ROWS, gray.shape[1] / _COLUMNS
    rows, columns = (
        [slice(int((i + 0.3) * side), int((i + 0.7) * side) + 1) for i in range(count)]
        for count, side in ((_ROWS, height), (_COLUMNS, width))
    )
    cells = itertools.product(rows, columns)
    return sum(int(gray[cell].mean() > 128) << place for place, cell in enumerate(cells))


def player_times(path: str | Path) -> dict[int, list[float]]:
    """Number of each picture -> when a player shows it, seconds from the start of the file.

    All of the file is decoded, in order, without seeking.
    """
    shown = defaultdict(list)
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        for frame in container.decode(container.streams.best("video")):
            if frame.time is not None:
                shown[number_of(frame.to_ndarray(format="rgb24"))].append(frame.time - start)
    return dict(shown)


def disagreements(path: str | Path, n_frms: int, reader: str = "auto", tolerance: float = 0.02) -> list[str]:
    """Frames of a video that are not on display at their seconds, one line each."""
    shown, settings = player_times(path), ReaderSettings(reader)
    video = load_video(path, n_frms=n_frms, image_size=56, settings=settings)
    wrong = []
    for picture, second in zip(video.frames.permute(0, 2, 3, 1).numpy(), video.seconds, strict=True):
        number = number_of(picture)
        if min((abs(second - time) for time in shown.get(number, [])), default=np.inf) > tolerance:
            wrong.append(f"picture {number} at {second:.3f} s, shown at {shown.get(number)}")
    return wrong


# Making files ---------------------------------------------------------------------------------------------------------


def write_numbered(path: Path, count: int = 48, codec: str = "libx264", **options: Any) -> Path:
    """A video of numbered pictures, 10 a second; options as for `write_video`."""
    return write_video(path, numbered_pictures(count), codec=codec, **{"fps": FPS, "gop": 12, **options})


Change = Callable[[int, Any], Iterable[Any]]


def copy_packets(
    source: Path, target: Path, change: Change, options: dict[str, str] | None = None, audio_s: float = 0
) -> Path:
    """Copy a video without decoding it, as `ffmpeg -c copy` does.

    Args:
        source, target: files.
        change: (number of the packet, packet) -> packets to write for it, maybe with other times.
        options: of the target's muxer.
        audio_s: seconds of silence, from 0 on, that the target gets as well.
    """
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        video = old.streams.video[0]
        stream = new.add_stream_from_template(video)
        sound = list(_silence(new, audio_s)) if audio_s else []
        packets = []
        for number, packet in enumerate(packet for packet in old.demux(video) if packet.size):
            for changed in change(number, packet):
                changed.stream = stream
                packets.append(changed)
        for packet in sound + packets:
            new.mux(packet)
    return target


def _silence(container: Any, seconds: float) -> Iterator[Any]:
    stream = container.add_stream("aac", rate=8000)
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def shifted(seconds: float) -> Change:
    """For `copy_packets`: every packet is shown so much later."""

    def change(number: int, packet: Any) -> Iterable[Any]:
        ticks = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return [packet]

    return change


def cut_from(seconds: float, key: int) -> Change:
    """For `copy_packets`: what `ffmpeg -ss SECONDS -c copy` does, from the key frame before on (a packet's number)."""
    shift = shifted(-seconds)
    return lambda number, packet: shift(number, packet) if number >= key else []


def write_edit_list(path: Path, start_s: float = 0.0, length_s: float | None = None) -> None:
    """Write into an mp4 file that players are to show only a part of it, as trimming without re-encoding does."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12  # length of the part, then its start
    length, start = struct.unpack_from(">Ii", data, entry)
    with av.open(str(path)) as container:
        ticks = 1 / container.streams.video[0].time_base
    length = length if length_s is None else round(1000 * length_s)
    struct.pack_into(">Ii", data, entry, length, start + round(start_s * ticks))
    path.write_bytes(data)


def write_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a, b, c, d of the display matrix into an mp4 file: how players are to turn or mirror it."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
