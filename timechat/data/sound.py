"""The sound of a video, as speech recognition wants it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from timechat.datasets.readers.base import AV_ERRORS, cannot_open

RATE = 16_000  # samples a second
GAP_S = 0.1  # seconds that may be missing between two packets before silence takes their place


@dataclass(frozen=True)
class Sound:
    """One channel of sound.

    Attributes:
        samples: float32 [N], from -1 to 1, `RATE` a second.
        start: seconds from the start of the file, the zero of its frames' times, to the first sample.
    """

    samples: NDArray[Any]
    start: float


def sound_of(path: Path) -> Sound | None:
    """The sound of a video; None if it has none. What is missing within it is silence, so that times stay right.

    Raises:
        VideoError: the file cannot be opened, or its sound cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            return _decoded(container)
    except (*AV_ERRORS, OSError) as error:
        raise cannot_open(str(path), error) from error


def _decoded(container: Any) -> Sound | None:
    # In 16 bits, where channels are averaged; as floats they would add up to more than 1.
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    zero = (container.start_time or 0) / av.time_base
    parts: list[NDArray[Any]] = []
    count, start = 0, None
    for frame in container.decode(audio=0):
        if frame.time is not None:
            start = frame.time if start is None else start
            missing = round((frame.time - start) * RATE) - count
            if missing > GAP_S * RATE:
                parts.append(np.zeros(missing, dtype=np.int16))
                count += missing
            frame.pts = None  # the resampler would want them without gaps
        for piece in resampler.resample(frame):
            parts.append(piece.to_ndarray().reshape(-1))
            count += len(parts[-1])
    parts += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(None)]
    if not parts:
        return None
    samples = np.concatenate(parts).astype(np.float32) / 32768
    return Sound(samples, (zero if start is None else start) - zero)
