"""TVSum and SumMe: the moments of the best summary of 15 %, with an importance from 1 to 5.

The files are those of the benchmarks of the same names, and are read by them. A summary is made of shots of 2 seconds
from the mean over all users, as in the evaluation; a shot is named by the second at which it starts. Importance goes
from 0 to 1 and is given as importance x 4 + 1: of TVSum that is the mean rating itself, of SumMe importance is the
share of users who kept the shot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.data.reading import Found
from timechat.data.records import Bad, Highlights
from timechat.data.sources.contract import Asked, Source
from timechat.evaluation.benchmarks.summarization import SHOT_SECONDS, VideoSummarization, shots_of
from timechat.evaluation.benchmarks.summe import SumMe
from timechat.evaluation.benchmarks.tvsum import HIGHEST, LOWEST, TVSum
from timechat.evaluation.metrics.summarization import summarize


def _reader(
    benchmark: type[VideoSummarization], share: Callable[[NDArray[Any]], NDArray[Any]]
) -> Callable[[Path, Asked], Iterator[Found]]:
    """A source's `read`; `share` turns a mean over users into importance from 0 to 1."""

    def read(path: Path, asked: Asked) -> Iterator[Found]:
        for row in benchmark().read_videos(path):
            importance = share(row["importance"].mean(axis=0))
            scores = _summary(row, importance)
            where = f"video {row['id']!r}"
            if scores:
                yield Highlights(where, row["id"], "", scores, duration=float(row["duration"]))
            else:
                yield Bad(where, "too short for a summary of 15 %")

    return read


def _summary(row: dict[str, Any], importance: NDArray[Any]) -> tuple[tuple[float, float], ...]:
    """(second, 1 to 5) of each shot of the summary."""
    shots = shots_of(row)
    kept = summarize(importance, shots)
    return tuple(
        (round(start * row["duration"] / len(importance) / SHOT_SECONDS) * SHOT_SECONDS, _scaled(importance[start:end]))
        for start, end in shots
        if kept[start]
    )


def _scaled(importance: NDArray[Any]) -> float:
    return float(np.mean(importance)) * (HIGHEST - LOWEST) + LOWEST


def _rated(mean: NDArray[Any]) -> NDArray[Any]:
    return (mean - LOWEST) / (HIGHEST - LOWEST)


def _kept(mean: NDArray[Any]) -> NDArray[Any]:
    return mean


TVSUM = Source(
    "tvsum",
    "ydata-tvsum50-anno.tsv, with its info.tsv beside it",
    _reader(TVSum, _rated),
    {"summarization": "TVSum/videos/{id}.mp4"},
    as_it_is="tvsum",
)
SUMME = Source(
    "summe",
    "the folder GT/ (needs SciPy: pip install 'timechat[summe]')",
    _reader(SumMe, _kept),
    {"summarization": "SumMe/videos/{id}.mp4"},
    as_it_is="summe",
    folder=True,
)
