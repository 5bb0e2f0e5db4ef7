"""Reads videos with decord, as the published code does."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any

import decord
import numpy as np
from decord._ffi.base import DECORDError, DECORDLimitReachedError
from einops import rearrange
from numpy.typing import NDArray

from timechat.datasets.readers.base import one_line
from timechat.datasets.readers.look import Look
from timechat.errors import VideoError

# decord raises AssertionError for a stream without frames, IndexError for timestamps of files that end right after the
# header, StopIteration for a frame that is missing, UnicodeEncodeError for a name that is not valid text.
# DECORDLimitReachedError for one that was replaced by its neighbour.
_ERRORS = (
    *(RuntimeError, DECORDError, DECORDLimitReachedError, AssertionError, IndexError, StopIteration),
    UnicodeEncodeError,
)

# decord repeats frames in place of those that it cannot decode, unless their share is above this.
_NONE_REPEATED = 1e-9

# decord's messages start with the time and a line of its source.
_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+: ")

# decord seeks to every key frame on its way, which takes as long as decoding so many frames: it is kept from seeking to
# one that is nearer.
_LEAST_SKIPPED = 16

# Seconds by which decord's times, in single precision, may differ from those of the packets.
_TOLERANCE = 1e-3


class DecordReader:
    """See `VideoReader`. The times are those of the look; decord must have found the same frames.

    Raises:
        Disagreement: decord sees other frames than the look.
        VideoError: decord cannot read the file.
    """

    def __init__(self, name: str, image_size: int | None, look: Look) -> None:
        self._name, self.spans, self.how = name, look.spans(), "decord"
        side = -1 if image_size is None else image_size
        try:
            self._reader = decord.VideoReader(name, width=side, height=side, num_threads=1, fault_tol=_NONE_REPEATED)
            found = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), dtype=np.float64)[:, 0]
            self.fps = float(self._reader.get_avg_fps())
            self._keys: list[int] = self._reader.get_key_indices()
        except _ERRORS as error:
            raise _undecodable(name, error) from error
        self._coming = 0  # the frame that decord decodes next
        _compare(found, self.spans[:, 0])

    def read(self, indices: list[int]) -> tuple[NDArray[Any], list[int]]:
        """See `VideoReader`; independent of the bridge that the process has set for decord.

        Frame by frame: as fast as `get_batch`, which fails at some small widths (48, 72, ...) where decord pads rows.
        """
        frames = np.empty(0, np.uint8)
        try:
            with decord.bridge._BridgeScope("native"):  # there is no public name for it
                for number, index in enumerate(indices):
                    self._pass_keys(index)
                    padded = self._reader[index].asnumpy()
                    self._coming = index + 1
                    height, width = padded.shape[:2]
                    if number == 0:
                        frames = np.empty((len(indices), 3, height, width), dtype=np.uint8)
                    rows = padded.reshape(height, -1)[:, : 3 * width]
                    frames[number] = rearrange(rows, "h (w c) -> c h w", c=3)
        except _ERRORS as error:
            raise _undecodable(self._name, error) from error
        return frames, indices

    def _pass_keys(self, index: int) -> None:
        """Decode on past the key frames up to a frame, if they are near: decord seeks only to those that it skips."""
        passed = self._keys[bisect_right(self._keys, self._coming) : bisect_right(self._keys, index)]
        if passed and passed[-1] - self._coming < _LEAST_SKIPPED:
            for key in passed:
                self._reader[key - 1]  # now the key frame is the next one


class Disagreement(Exception):  # it is no error: another reader takes the file
    """decord sees other frames than the look at the packets."""


def _compare(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Raise Disagreement unless decord, which counts seconds from the first frame, has the same times."""
    if len(found) != len(wanted):
        raise Disagreement(f"decord counts {len(found)} frames instead of {len(wanted)}")
    apart = np.abs((found - found[0]) - (wanted - wanted[0]))
    # decord stores single precision, which is coarser than a millisecond after four hours.
    if not np.all(apart < _TOLERANCE + np.spacing(np.abs(found).astype(np.float32))):
        raise Disagreement("decord has other times for its frames")


def _undecodable(name: str, error: BaseException) -> VideoError:
    """Seen only by who forces decord: with `auto`, PyAV is tried next."""
    reason = _PREFIX.sub("", one_line(error)) or type(error).__name__
    return VideoError(name, f"decord cannot read it ({reason}). Set model.video_reader=auto, which then tries PyAV.")
