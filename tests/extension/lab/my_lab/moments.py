"""The lab's annotations: a CSV file with the columns video, start, end (seconds) and event."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from timechat.errors import AnnotationError


@dataclass(frozen=True)
class Moment:
    """An event of a video, from `start` to `end` in seconds."""

    video: str
    start: float
    end: float
    event: str


def read_moments(path: str | Path, min_seconds: float) -> list[Moment]:
    """The moments of a file that last so long. Raises AnnotationError."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [(r["video"], float(r["start"]), float(r["end"]), r["event"]) for r in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f"{path}: not a CSV file with video, start, end and event ({error!r})") from error
    moments = [Moment(*row) for row in rows if row[2] - row[1] >= min_seconds]
    if not moments:
        raise AnnotationError(f"{path}: none of its {len(rows)} moments lasts min_seconds={min_seconds}")
    return moments
