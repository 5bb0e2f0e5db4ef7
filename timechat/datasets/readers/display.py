"""How a frame is to be turned or mirrored before it is shown, and scaling it as decord does."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, cast

import av

UPRIGHT = (1, 0, 0, 1)

# The signs (a, b, c, d) of a display matrix -> arguments of FFmpeg's filter `transpose` that do the same: 0 swaps the
# axes, 1 turns clockwise, 2 turns back, 3 swaps the axes the other way.
_TURNS: dict[tuple[int, ...], tuple[str, ...]] = {
    UPRIGHT: (),
    (0, 1, -1, 0): ("1",),
    (-1, 0, 0, -1): ("1", "1"),
    (0, -1, 1, 0): ("2",),
    (-1, 0, 0, 1): ("0", "1"),
    (1, 0, 0, -1): ("0", "2"),
    (0, 1, 1, 0): ("0",),
    (0, -1, -1, 0): ("3",),
}


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """The signs (a, b, c, d) of a frame's display matrix; `UPRIGHT` without one, or if it turns by other angles."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("=5i", cast(bytes, data))
    signs = tuple((entry > 0) - (entry < 0) for entry in (a, b, c, d))
    return signs if signs in _TURNS else UPRIGHT


def is_mirrored(matrix: tuple[int, ...]) -> bool:
    """Whether a display matrix, as `display_matrix` gives it, has a flip in it."""
    a, b, c, d = matrix
    return a * d - b * c < 0


# (width, height) of an upright frame -> that of the picture made of it.
Fit = Callable[[int, int], tuple[int, int]]


def square(image_size: int | None) -> Fit:
    """What readers make of frames: a square of that side in pixels; their own size for None."""
    return lambda width, height: (width, height) if image_size is None else (image_size, image_size)


class Scaler:
    """Frames -> upright pictures of one size, which the first frame decides.

    They pass through the filters that decord uses (rotation, then bilinear scaling), not through PyAV's `reformat`,
    which places chroma differently and is off by a few levels.

    Args:
        fit: the size of the first upright frame -> the size of all pictures, (width, height) in pixels.
        pixels: their pixel format.
        interpolation: a flag of FFmpeg's filter `scale`.
    """

    def __init__(self, fit: Fit, pixels: str = "rgb24", interpolation: str = "bilinear") -> None:
        self._fit, self._pixels, self._interpolation = fit, pixels, interpolation
        self._size: tuple[int, int] | None = None
        self._graph: av.filter.Graph | None = None
        self._input: tuple[Any, ...] | None = None

    def scaled(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Turn, scale and convert a frame."""
        kind = (frame.width, frame.height, frame.format.name, display_matrix(frame))
        if self._graph is None or kind != self._input:  # a stream may change in the middle
            self._graph, self._input = self._filters(frame, kind[-1]), kind
        self._graph.push(frame)
        return cast(av.VideoFrame, self._graph.pull())

    def _filters(self, frame: av.VideoFrame, matrix: tuple[int, ...]) -> av.filter.Graph:
        turns = _TURNS[matrix]
        if self._size is None:
            width, height = (frame.height, frame.width) if len(turns) == 1 else (frame.width, frame.height)
            self._size = self._fit(width, height)
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            *(graph.add("transpose", turn) for turn in turns),
            graph.add("scale", "{}:{}:flags={}".format(*self._size, self._interpolation)),
            graph.add("format", self._pixels),
            graph.add("buffersink"),
        ).configure()
        return graph
