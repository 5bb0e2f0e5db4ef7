"""What the key frames of H.264 and H.265 are: whether a decoder that starts at one gives every frame after it.

Containers mark as key frames what players may seek to. Only some of them (IDR) cut all ties to the frames before;
after a seek to another, decoders drop frames, and who counts them is wrong from then on.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.video.stream import VideoStream

# Types of NAL units (H.264, table 7-1; H.265, table 7-1): those of IDR pictures, and the sequence parameter set.
_IDR = {"h264": {5}, "hevc": {19, 20}}
_SPS = {"h264": 7, "hevc": 33}


class KeyFrames:
    """Gathers what the key frames of one stream are.

    Args:
        codec: its decoder's name.
        extradata: its header; None if it has none.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec, self._length = codec, _length_size(codec, extradata or b"")
        self._open, self._settings = 0, set[bytes]()

    def add(self, packet: av.Packet[VideoStream]) -> bool:
        """Note a key frame. Returns whether it is known to depend on no frame before it."""
        if self._codec not in _IDR:
            return False
        closed = False
        for unit in self._units(bytes(packet)):
            kind = unit[0] & 31 if self._codec == "h264" else unit[0] >> 1 & 63
            closed |= kind in _IDR[self._codec]
            if kind == _SPS[self._codec]:
                self._settings.add(unit.rstrip(b"\0"))
        self._open += not closed
        return closed

    def doubts(self) -> Iterator[str]:
        """Why a decoder might give other frames after a seek."""
        if self._open:
            yield f"{self._open} key frames depend on frames before them"
        if len(self._settings) > 1:
            yield "size or format change in the middle"

    def _units(self, data: bytes) -> Iterator[bytes]:
        """The NAL units of a packet, each at least one byte; the rest of a damaged packet is left out."""
        if not self._length:
            yield from filter(None, data.split(b"\0\0\1"))
            return
        position = 0
        while position + self._length < len(data):
            start = position + self._length
            size = int.from_bytes(data[position:start], "big")
            if not 0 < size <= len(data) - start:
                return
            yield data[start : start + size]
            position = start + size


def _length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the length before each NAL unit; 0 if start codes separate them."""
    at = {"h264": 4, "hevc": 21}.get(codec, 0)
    if len(extradata) <= at or extradata[0] != 1:
        return 0
    return (extradata[at] & 3) + 1
