"""What a video's header says, and whether its end is there, without reading all of it; or all of it, decoded.

The header and the last packets take a few milliseconds, whatever the length of the video. Where they leave a doubt, all
packets are looked at (`look.py`), as before training reads the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from timechat.datasets.readers.base import AV_ERRORS, cannot_open, refuse_false_promise, undecodable
from timechat.datasets.readers.look import LEAST_LASTED, Look, look_at, video_stream


@dataclass(frozen=True)
class Header:
    """A video in numbers.

    Attributes:
        seconds: when its last frame ends, on the player's clock.
        begin: when its first frame is shown, seconds.
        frames: how many there are; estimated from rate and seconds where the header does not say.
        fps: average frame rate, frames per second.
        width, height: in pixels, before any rotation.
    """

    seconds: float
    begin: float
    frames: int
    fps: float
    width: int
    height: int


def read_header(name: str) -> Header:
    """Read the header and the last packets of a video, which must exist.

    Raises:
        VideoError: it has no video that can be decoded, or its end is missing.
    """
    try:
        with av.open(name) as container:
            stream = video_stream(name, container)
            refuse_false_promise(name, stream.frames)
            end = _end(container, stream)
            promised = (container.duration or 0) / av.time_base
            begin = float((stream.start_time or 0) * (stream.time_base or 0)) - _start(container)
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            if end is not None and fps > 0 and 0 < LEAST_LASTED * promised <= end:
                frames = stream.frames or max(1, round((end - begin) * fps))
                return Header(end, begin, frames, fps, stream.width, stream.height)
            size = stream.width, stream.height
    except AV_ERRORS as error:
        raise cannot_open(name, error) from error
    return _of_look(look_at(name), size)


def decode_all(name: str) -> Header:
    """Look at all packets of a video, which must exist, and decode all of its frames.

    Raises:
        VideoError: it has no video that can be decoded, its end is missing, or frames are damaged.
    """
    look = look_at(name)
    try:
        with av.open(name) as container:
            stream = video_stream(name, container)
            stream.thread_type = "AUTO"
            intact = {frame.pts for frame in _decoded(container, stream)}
            size = stream.width, stream.height
    except AV_ERRORS as error:
        raise cannot_open(name, error) from error
    wanted = set(look.stamps.tolist())
    if lost := len(wanted - intact):
        raise undecodable(name, f"{lost} of {len(wanted)} frames are damaged")
    return _of_look(look, size)


def _end(container: InputContainer, stream: VideoStream) -> float | None:
    """When the last frame ends, seconds on the player's clock, by the packets from the last key frame on.

    None where they do not say, are incomplete, or cannot be reached.
    """
    last: float | None = None
    if not container.duration:
        return None
    try:
        container.seek(container.duration + (container.start_time or 0))
        for packet in container.demux(stream):
            if packet.is_corrupt:
                return None
            if packet.size and not packet.is_discard and packet.pts is not None and packet.time_base:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                last = end if last is None else max(last, end)
    except AV_ERRORS:
        return None
    return None if last is None else last - _start(container)


def _start(container: InputContainer) -> float:
    """Zero of the player's clock, seconds."""
    return (container.start_time or 0) / av.time_base


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """The frames that decode without an error."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except AV_ERRORS:
            continue
        yield from (frame for frame in frames if isinstance(frame, av.VideoFrame) and not frame.is_corrupt)


def _of_look(look: Look, size: tuple[int, int]) -> Header:
    spans = look.spans()
    fps = look.fps or (len(spans) / max(float(spans[-1, 1] - spans[0, 0]), float(look.tick)))
    return Header(float(spans[-1, 1]), float(spans[0, 0]), len(spans), fps, *size)
