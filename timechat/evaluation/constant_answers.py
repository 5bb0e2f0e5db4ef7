"""The best constant answer: one that ignores video and question, fitted to the annotations of the train split.

Times are fitted in seconds or, where durations are known, as shares of the duration; `Event` and `Interval` hold
whichever of the two. Everything is deterministic: among equally good answers the first is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from timechat.evaluation.metrics.dense_captioning import IOU_THRESHOLDS, Event
from timechat.evaluation.metrics.intervals import grounding_iou, interval_iou

Interval = tuple[float, float]

GRID_TIMES = 64  # starts, and ends, that are tried; quantiles where the train split has more
GRID_SHARES = 20  # events of dense captions start and end at multiples of 1 / GRID_SHARES of the span
MAX_EVENTS = 10  # of a constant dense answer
PROFILE_BINS = 75  # of a highlight profile: the clips of most videos of QVHighlights
HIT_IOU = 0.5
_CHUNK = 256  # candidates whose IoU with all train queries is held at once


@dataclass(frozen=True)
class ConstantInterval:
    """One interval for every query.

    Attributes:
        interval: start and end.
        hits: share of the train queries that it hits at IoU 0.5, 0 to 1.
        mean_iou: with the train queries.
    """

    interval: Interval
    hits: float
    mean_iou: float


def fit_interval(intervals: Sequence[Interval]) -> ConstantInterval:
    """The interval that matches most of the given intervals at IoU 0.5; among equals, the one with the best mean IoU.

    Every pair of a start and a later end that the intervals have is tried, or of up to 64 quantiles of each.
    """
    true = np.asarray(intervals, dtype=np.float64)
    starts, ends = (_grid(true[:, side]) for side in (0, 1))
    pairs = [(start, end) for start in starts for end in ends if start < end] or [tuple(true[0])]
    best: ConstantInterval | None = None
    for first in range(0, len(pairs), _CHUNK):
        chunk = pairs[first : first + _CHUNK]
        iou = grounding_iou(chunk, true)
        for pair, hits, mean in zip(chunk, (iou >= HIT_IOU).mean(axis=1), iou.mean(axis=1), strict=True):
            if best is None or (hits, mean) > (best.hits, best.mean_iou):
                best = ConstantInterval((float(pair[0]), float(pair[1])), float(hits), float(mean))
    return cast(ConstantInterval, best)  # there is at least one pair


def _grid(times: NDArray[Any]) -> list[float]:
    distinct = np.unique(times)
    if len(distinct) <= GRID_TIMES:
        return distinct.tolist()
    return np.unique(np.quantile(times, np.linspace(0, 1, GRID_TIMES), method="nearest")).tolist()


def fit_events(videos: Sequence[Sequence[Event]], span: float) -> tuple[list[Event], float]:
    """The list of events with the best F1 (mean over IoU thresholds, as scored) if every video had it.

    Tried are equal parts of the span, 1 to 10 of them, and a list that grows by the event of a grid that helps most.
    Each event says the caption that is most frequent among the true events that it matches at IoU 0.3.

    Args:
        videos: the true events of each train video, one or more each.
        span: the end of the grid: 1 for shares.

    Returns:
        The events by time, and their F1 on the train split, a fraction.
    """
    grid = np.linspace(0.0, span, GRID_SHARES + 1).tolist()
    candidates = [(start, end) for i, start in enumerate(grid) for end in grid[i + 1 :]]
    train = _Train(videos)
    lists = [_equal_parts(count, span) for count in range(1, MAX_EVENTS + 1)] + [_grow(train, candidates)]
    scores = [train.f1_of(intervals) for intervals in lists]
    best = int(np.argmax(scores))
    return [(*interval, train.caption(interval)) for interval in sorted(lists[best])], float(scores[best])


def _equal_parts(count: int, span: float) -> list[Interval]:
    return [(span * i / count, span * (i + 1) / count) for i in range(count)]


def _grow(train: _Train, candidates: list[Interval]) -> list[Interval]:
    """Add the candidate that helps F1 most, while one does."""
    matches = train.matches(candidates)
    per_video = train.any_per_video(matches).astype(np.float64)
    covered, matched = np.zeros_like(matches[0]), np.zeros_like(per_video[0])
    chosen: list[int] = []
    score = 0.0
    while len(chosen) < MAX_EVENTS:
        count = len(chosen) + 1
        scores = [train.f1(covered | matches[i], (matched + per_video[i]) / count) for i in range(len(candidates))]
        best = int(np.argmax(scores))
        if scores[best] <= score:
            break
        chosen.append(best)
        score = scores[best]
        covered, matched = covered | matches[best], matched + per_video[best]
    return [candidates[index] for index in chosen] or candidates[-1:]


class _Train:
    """True events of all train videos, in one array."""

    def __init__(self, videos: Sequence[Sequence[Event]]):
        self._events = [event for events in videos for event in events]
        self._intervals = [event[:2] for event in self._events]
        sizes = [len(events) for events in videos]
        self._first = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)  # of each video
        self._sizes = np.asarray(sizes, dtype=np.float64)[:, None]

    def matches(self, intervals: Sequence[Interval]) -> NDArray[Any]:
        """Whether interval i and true event j match at threshold k: bool [i, j, k]."""
        return interval_iou(intervals, self._intervals)[..., None] > np.asarray(IOU_THRESHOLDS)

    def any_per_video(self, matches: NDArray[Any]) -> NDArray[Any]:
        """Whether each interval matches anything in each video: bool [i, videos, k]."""
        return np.logical_or.reduceat(matches, self._first, axis=1)

    def f1(self, covered: NDArray[Any], matched: NDArray[Any]) -> float:
        """Mean F1 over videos; of a video it is taken from the means over thresholds.

        Args:
            covered: which true events have a match, bool [j, k].
            matched: share of the intervals that have a match in each video, [videos, k].
        """
        recalled = np.add.reduceat(covered, self._first, axis=0, dtype=np.float64) / self._sizes
        precision, recall = matched.mean(axis=1), recalled.mean(axis=1)
        total = precision + recall
        return float(np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0).mean())

    def f1_of(self, intervals: Sequence[Interval]) -> float:
        """F1 if every video had these intervals."""
        matches = self.matches(intervals)
        return self.f1(np.any(matches, axis=0), self.any_per_video(matches).mean(axis=0))

    def caption(self, interval: Interval) -> str:
        """The most frequent caption of the true events that match; of all where none does."""
        near = np.flatnonzero(self.matches([interval])[0, :, 0])
        chosen = [self._events[index] for index in near] or self._events
        return Counter(event[2] for event in chosen).most_common(1)[0][0]


def fit_profile(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Mean saliency by relative time.

    Args:
        rows: of each train query, the saliency of every clip of its video, float [clips].

    Returns:
        float [PROFILE_BINS].
    """
    return np.mean([stretch(row, PROFILE_BINS) for row in rows], axis=0)


def stretch(profile: NDArray[Any], length: int) -> NDArray[Any]:
    """A profile over relative time with another number of clips: each takes the value at its middle."""
    middles = (np.arange(length) + 0.5) / length
    return np.asarray(profile, dtype=np.float64)[(middles * len(profile)).astype(np.int64)]
