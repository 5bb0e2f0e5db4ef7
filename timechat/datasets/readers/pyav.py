"""Reads videos with PyAV, by presentation time: any file that FFmpeg decodes."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from einops import rearrange
from numpy.typing import NDArray

from timechat.datasets.readers.base import AV_ERRORS, one_line, undecodable
from timechat.datasets.readers.display import Scaler, square
from timechat.datasets.readers.look import Look, video_stream

# How many frames a decoder may give out of order, in H.264 and H.265.
_MOST_REORDERED = 16

# A key frame that is fewer frames ahead is reached by decoding on. That is as fast as a seek, and where packets were
# lost it shows what players show: after a seek, a decoder has fewer frames to fill the gaps with.
_LEAST_SKIPPED = 16

# A file of whose sampled frames fewer can be decoded is refused.
_LEAST_LEFT = 0.5


class PyAVReader:
    """See `VideoReader`. Frames are found by timestamp, never counted, so cuts and losses do no harm."""

    def __init__(self, name: str, image_size: int | None, look: Look, why: str = "") -> None:
        self._name, self._image_size, self._look = name, image_size, look
        self.how = f"PyAV ({why})" if why else "PyAV"
        self.spans, self.fps = look.spans(), look.fps

    def read(self, indices: list[int]) -> tuple[NDArray[Any], list[int]]:
        """See `VideoReader`."""
        frames, shown, scaler = np.empty(0, np.uint8), list[int](), Scaler(square(self._image_size))
        stamps = self._look.stamps
        try:
            with av.open(self._name) as container:
                display = Display(self._name, container, self._look)
                for stamp in stamps[indices].tolist():
                    frame = display.at(stamp)
                    index = int(np.searchsorted(stamps, _stamp(frame)))
                    if shown and index == shown[-1]:
                        continue
                    picture = scaler.scaled(frame).to_ndarray()
                    if not shown:
                        frames = np.empty((len(indices), 3, *picture.shape[:2]), dtype=np.uint8)
                    frames[len(shown)] = rearrange(picture, "h w c -> c h w")
                    shown.append(index)
        except AV_ERRORS as error:
            raise undecodable(self._name, one_line(error)) from error
        if len(shown) < _LEAST_LEFT * len(indices):
            raise undecodable(self._name, f"only {len(shown)} of {len(indices)} frames are left of it")
        return frames[: len(shown)], shown


class Display:
    """Which frame is on display at a time; the times that are asked for increase.

    From one to the next it decodes on, or seeks to the last key frame before it if that is further ahead.
    """

    def __init__(self, name: str, container: InputContainer, look: Look) -> None:
        self._name, self._container, self._repeated = name, container, look.repeated
        self._stamps, self._keys, self._known = look.stamps, look.keys.tolist(), set(look.stamps.tolist())
        self._stream = video_stream(name, container)
        self._stream.codec_context.thread_count = 1  # as in decord: workers already run in parallel
        self._shown: av.VideoFrame | None = None
        self._ahead: list[av.VideoFrame] = []  # decoded, not yet shown, in display order
        self._coming = self._decoded()

    def at(self, stamp: int) -> av.VideoFrame:
        """The last frame that is shown by then; the first one of the file, if that comes later.

        Raises:
            VideoError: there is none.
        """
        key = bisect_right(self._keys, stamp) - 1
        if key > 0 and self._frames_until(self._keys[key]) >= _LEAST_SKIPPED:
            self._enter(key, stamp)
        self._advance(stamp)
        if self._shown is None:  # what comes before the first frame of all was lost
            self._shown = self._next()
        if self._shown is None:
            raise undecodable(self._name, "no frame of it can be decoded")
        return self._shown

    def _frames_until(self, stamp: int) -> int:
        """How many frames are shown before a time, from the one that is on display on."""
        shown = self._stamps[0] if self._shown is None else _stamp(self._shown)
        return int(np.searchsorted(self._stamps, stamp) - np.searchsorted(self._stamps, shown))

    def _enter(self, key: int, stamp: int) -> None:
        """Seek to a key frame, or if nothing can be decoded between it and `stamp`, to earlier ones."""
        back = 1
        while key > 0:
            if self._seek(self._keys[key]):
                self._advance(stamp)
                if self._shown is not None:
                    return
            key, back = key - back, 2 * back
        self._rewind()

    def _seek(self, stamp: int) -> bool:
        try:
            self._container.seek(stamp, stream=self._stream)
        except AV_ERRORS:
            return False
        self._start()
        return True

    def _rewind(self) -> None:
        """Go back to the beginning, also where the container has no index to seek with."""
        self._container = av.open(self._name)
        self._stream = video_stream(self._name, self._container)
        self._stream.codec_context.thread_count = 1
        self._start()

    def _start(self) -> None:
        self._shown, self._ahead, self._coming = None, [], self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Frames as the decoder gives them, without those whose packets had no time; damaged packets give none."""
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame) and frame.pts in self._known:
                    yield frame

    def _advance(self, stamp: int) -> None:
        """Decode until the next frame would be shown after `stamp`."""
        looked_ahead = False
        while self._shown is None or _stamp(self._shown) < stamp or self._repeated:
            frame = self._next()
            if frame is None:
                return
            if _stamp(frame) <= stamp:
                self._shown = frame
                continue
            insort(self._ahead, frame, key=_stamp)
            if looked_ahead or (self._shown is not None and _stamp(self._shown) == stamp):
                return
            self._look_ahead()  # a decoder may give frames out of order
            looked_ahead = True

    def _next(self) -> av.VideoFrame | None:
        return self._ahead.pop(0) if self._ahead else next(self._coming, None)

    def _look_ahead(self) -> None:
        for frame in self._coming:
            insort(self._ahead, frame, key=_stamp)
            if len(self._ahead) >= _MOST_REORDERED:
                return


def _stamp(frame: av.VideoFrame) -> int:
    """The timestamp of a frame that `_decoded` gives."""
    return cast(int, frame.pts)
