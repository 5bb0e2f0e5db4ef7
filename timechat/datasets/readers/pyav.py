"""Reads videos with PyAV, where decord cannot be imported.

Both libraries wrap FFmpeg. Frames pass through the filters that decord uses (rotation, then bilinear scaling), not
through PyAV's `reformat`, which places chroma differently and is off by a few levels.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from einops import rearrange
from numpy.typing import NDArray

from timechat.datasets.readers.base import one_line, refuse_false_promise, undecodable

# ValueError: a name that is not valid text. IndexError, OverflowError: numbers in a damaged header.
_ERRORS = (av.FFmpegError, ValueError, IndexError, OverflowError)

# A frame's rotation, degrees anticlockwise -> arguments of the filters that turn it upright (1 clockwise, 2 back).
_UPRIGHT = {90: ("2",), -90: ("1",), 180: ("1", "1"), -180: ("1", "1")}


class PyAVReader:
    """See `VideoReader`. Finds frames by timestamp, not by counting, so open groups of pictures do no harm."""

    def __init__(self, name: str, image_size: int | None) -> None:
        self._name, self._image_size = name, image_size
        try:
            with av.open(name) as container:
                stream = _video_stream(container)
                refuse_false_promise(name, stream.frames)
                self.fps = float(stream.average_rate or 0)
                shown, self._keys = _scan(name, container, stream)
                tick = float(stream.time_base or 0)
        except _ERRORS as error:
            raise undecodable(name, one_line(error)) from error
        self._stamps = [stamp for stamp, _ in shown]
        ticks = np.array([(stamp, stamp + duration) for stamp, duration in shown]) - self._stamps[0]
        # Single precision like decord's, so that both readers give the same times.
        self.spans = (ticks * tick).astype(np.float32)

    def read(self, indices: list[int]) -> torch.Tensor:
        """See `VideoReader`."""
        frames, scaler = torch.empty(0), _Scaler(self._image_size)
        try:
            with av.open(self._name) as container:
                for number, frame in enumerate(self._decode(container, [self._stamps[index] for index in indices])):
                    picture = torch.from_numpy(scaler.rgb(frame))
                    if number == 0:
                        frames = torch.empty(len(indices), 3, *picture.shape[:2], dtype=torch.uint8)
                    frames[number] = rearrange(picture, "h w c -> c h w")
        except _ERRORS as error:
            raise undecodable(self._name, one_line(error)) from error
        return frames

    def _decode(self, container: InputContainer, stamps: list[int]) -> Iterator[av.VideoFrame]:
        """The frames with these timestamps, which increase."""
        stream = _video_stream(container)
        stream.codec_context.thread_count = 1  # as in decord: workers already run in parallel
        coming = _frames(container, stream)
        frame = next(coming, None)
        for stamp in stamps:
            key = self._keys[max(0, bisect_right(self._keys, stamp) - 1)]
            if frame is None or key > _stamp(frame):
                coming = _frames(container, stream, key)
                frame = next(coming, None)
            if frame is None or _stamp(frame) > stamp:  # the seek went too far; from the start it is always right
                coming = _frames(container, stream, min(self._keys[0], self._stamps[0]))
                frame = next(coming, None)
            while frame is not None and _stamp(frame) < stamp:
                frame = next(coming, None)
            if frame is None or frame.pts != stamp:
                raise undecodable(self._name, f"the frame with timestamp {stamp} is missing")
            yield frame


class _Scaler:
    """Frames -> upright RGB of one size, uint8 [H, W, 3]: a square, or without `image_size` the first frame's size."""

    def __init__(self, image_size: int | None) -> None:
        self._size = None if image_size is None else (image_size, image_size)
        self._graph: av.filter.Graph | None = None
        self._input: tuple[int, int, str, int] | None = None

    def rgb(self, frame: av.VideoFrame) -> NDArray[Any]:
        """Rotate, scale and convert a frame."""
        kind = (frame.width, frame.height, frame.format.name, frame.rotation)
        if self._graph is None or kind != self._input:  # a stream may change in the middle
            self._graph, self._input = self._filters(frame), kind
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _filters(self, frame: av.VideoFrame) -> av.filter.Graph:
        turns = _UPRIGHT.get(frame.rotation, ())
        if self._size is None:
            self._size = (frame.height, frame.width) if len(turns) == 1 else (frame.width, frame.height)
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            *(graph.add("transpose", turn) for turn in turns),
            graph.add("scale", "{}:{}:flags=bilinear".format(*self._size)),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ).configure()
        return graph


def _scan(name: str, container: InputContainer, stream: VideoStream) -> tuple[list[tuple[int, int]], list[int]]:
    """Read packets without decoding them.

    Returns:
        (timestamp, duration) of every frame in display order, and the timestamps of the key frames; in ticks.
    """
    shown, keys = [], []
    for packet in container.demux(stream):
        if not packet.size:  # the end
            continue
        if packet.is_corrupt or packet.pts is None:
            raise undecodable(name, "a frame is incomplete or has no timestamp")
        if packet.is_keyframe:
            keys.append(packet.pts)
        if not packet.is_discard:  # cut away by the file's edit list
            shown.append((packet.pts, packet.duration or 0))
    if not shown or not keys:
        raise undecodable(name, "it has no frames, or no key frame")
    return sorted(shown), sorted(keys)


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise ValueError("it has no video stream")
    if stream.codec_context is None:
        raise ValueError("there is no decoder for its codec")
    return stream


def _stamp(frame: av.VideoFrame) -> int:
    """The timestamp of a frame from `_frames`, which all have one."""
    return cast(int, frame.pts)


def _frames(container: InputContainer, stream: VideoStream, stamp: int | None = None) -> Iterator[av.VideoFrame]:
    """Frames in display order, from the last key frame before `stamp` on; without `stamp` from the current position."""
    if stamp is not None:
        container.seek(stamp, stream=stream)
    return (frame for frame in container.decode(stream) if frame.pts is not None)
