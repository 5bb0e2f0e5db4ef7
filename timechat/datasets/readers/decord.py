"""Reads videos with decord."""

from __future__ import annotations

import re

import av
import decord
import torch
from decord._ffi.base import DECORDError
from einops import rearrange

from timechat.datasets.readers.base import one_line, refuse_false_promise, undecodable
from timechat.errors import VideoError

# decord raises AssertionError for a stream without frames, IndexError for timestamps of files that end right after the
# header, StopIteration for a frame that is missing, UnicodeEncodeError for a name that is not valid text.
_ERRORS = (RuntimeError, DECORDError, AssertionError, IndexError, StopIteration, UnicodeEncodeError)

# decord's messages start with the time and a line of its source.
_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+: ")


class DecordReader:
    """See `VideoReader`."""

    def __init__(self, name: str, image_size: int | None) -> None:
        self._name = name
        self._in_order = needs_order(name)
        side = -1 if image_size is None else image_size
        try:
            self._reader = decord.VideoReader(name, width=side, height=side, num_threads=1)
            self.spans = self._reader.get_frame_timestamp(range(len(self._reader)))
            self.fps = float(self._reader.get_avg_fps())
        except _ERRORS as error:
            raise _undecodable(name, error) from error

    def read(self, indices: list[int]) -> torch.Tensor:
        """See `VideoReader`; independent of the bridge that the process has set for decord.

        Frame by frame: as fast as `get_batch`, which fails at some small widths (48, 72, ...) where decord pads rows.
        """
        frames = torch.empty(0)
        try:
            with decord.bridge.use_torch():
                for number, padded in enumerate(map(self._frame, indices, [-1, *indices[:-1]])):
                    height, width = padded.shape[:2]
                    if number == 0:
                        frames = torch.empty(len(indices), 3, height, width, dtype=torch.uint8)
                    rows = padded.reshape(height, -1)[:, : 3 * width]
                    frames[number] = rearrange(rows, "h (w c) -> c h w", c=3)
        except _ERRORS as error:
            raise _undecodable(self._name, error) from error
        return frames

    def _frame(self, index: int, previous: int) -> torch.Tensor:
        if not self._in_order:
            return self._reader[index]
        for _ in range(index - previous - 1):
            self._reader.next()
        return self._reader.next()


def needs_order(name: str) -> bool:
    """Whether frames that are shown before a key frame are stored after it (open groups of pictures).

    The decoder drops such frames after a seek to that key frame, and decord then miscounts: it returns neighbouring
    frames, a few tenths of a second off. Such files must be decoded in order. Reads packets without decoding them.

    Raises:
        VideoError: the header promises more frames than the file can hold.
    """
    try:
        with av.open(name) as container:
            refuse_false_promise(name, container.streams.video[0].frames)
            key = None
            for packet in container.demux(video=0):
                if packet.pts is None:
                    continue
                if packet.is_keyframe:
                    key = packet.pts
                elif key is not None and packet.pts < key:
                    return True
    except (av.FFmpegError, ValueError, IndexError):
        return True  # decord may still read it; reading in order is always right, only slower
    return False


def _undecodable(name: str, error: BaseException) -> VideoError:
    return undecodable(name, _PREFIX.sub("", one_line(error)) or type(error).__name__)
