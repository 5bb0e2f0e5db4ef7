"""Confidence intervals, and tests of two sets of answers, by resampling videos.

Questions about one video are not independent: what is hard about a video is hard for all of them. So videos are drawn,
each with all its questions (the cluster bootstrap; Davison and Hinkley, 1997, section 3.8). A score is the mean over
the questions of the videos that were drawn. Everything is seeded, so the same answers give the same numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

SEED = 42
CONFIDENCE = 95.0  # percent
PAIRED_RESAMPLES = 10_000
_TOLERANCE = 0.011  # percent: the published scorer of highlights rounds each number to two decimals
_CHUNK = 256  # resamples that are held at once


@dataclass(frozen=True)
class QuestionScores:
    """What each question adds to the scores of an evaluation.

    Attributes:
        videos: id of a question -> its video.
        scores: score -> id -> percent; the score is the mean. A question that it does not count is not there.
    """

    videos: dict[str, str]
    scores: dict[str, dict[str, float]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row for each question, for a file."""
        for key, video in self.videos.items():
            values = {name: of_score[key] for name, of_score in self.scores.items() if key in of_score}
            yield {"id": key, "video": video, "scores": values}

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> QuestionScores:
        """The same from the rows of a file."""
        names = dict.fromkeys(name for row in rows for name in row["scores"])
        scores = {
            name: {row["id"]: float(row["scores"][name]) for row in rows if name in row["scores"]} for name in names
        }
        return cls({row["id"]: row["video"] for row in rows}, scores)


class Bootstrap(TypedDict):
    """Confidence intervals of scores.

    Attributes:
        resamples, seed, videos: how they were made.
        intervals: score -> [low, high] in percent: the percentiles 2.5 and 97.5.
        left_out: main scores that are no mean over questions, and so have none.
    """

    resamples: int
    seed: int
    videos: int
    intervals: dict[str, list[float]]
    left_out: list[str]


@dataclass(frozen=True)
class Paired:
    """One score of two sets of answers to the same questions, in percent.

    Attributes:
        first, second: over the questions that both have.
        difference: second minus first, with its interval `low` to `high`.
        p: two-sided: how often a difference as large would come from exchanging the answers of random videos.
        questions, videos: how many both have.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    questions: int
    videos: int


def is_mean(shares: Mapping[str, float], score: float | None) -> bool:
    """Whether a score is the mean of these shares, both in percent."""
    return bool(shares) and score is not None and abs(statistics.fmean(shares.values()) - score) <= _TOLERANCE


def bootstrap(
    questions: QuestionScores, percent: Mapping[str, float], names: Collection[str], resamples: int
) -> Bootstrap:
    """Confidence intervals of the scores whose mean over questions they are.

    Args:
        questions: what each question adds.
        percent: the scores.
        names: those that should have an interval.
        resamples: how many times videos are drawn, as many as there are.
    """
    intervals = {}
    for name, shares in questions.scores.items():
        sums, counts = _by_video(shares, questions.videos)
        intervals[name] = _percentiles(_drawn_means(sums, counts, resamples))
    return {
        "resamples": resamples,
        "seed": SEED,
        "videos": len(set(questions.videos.values())),
        "intervals": intervals,
        "left_out": [name for name in names if name in percent and name not in intervals],
    }


def paired_test(
    first: QuestionScores, second: QuestionScores, name: str, resamples: int = PAIRED_RESAMPLES
) -> Paired | None:
    """Compare one score of two sets of answers over the questions that both have; None where they share none.

    The interval of the difference is a bootstrap over videos, p a permutation test in which both answers to all
    questions of a video change sides together.
    """
    ours, theirs = first.scores.get(name, {}), second.scores.get(name, {})
    shared = [key for key in ours if key in theirs and first.videos[key] == second.videos[key]]
    if not shared:
        return None
    differences, counts = _by_video({key: theirs[key] - ours[key] for key in shared}, first.videos)
    low, high = _percentiles(_drawn_means(differences, counts, resamples))
    mean_first, mean_second = (statistics.fmean(side[key] for key in shared) for side in (ours, theirs))
    return Paired(
        first=mean_first,
        second=mean_second,
        difference=mean_second - mean_first,
        low=low,
        high=high,
        p=_exchange_p(differences, resamples),
        questions=len(shared),
        videos=len(counts),
    )


def _by_video(shares: Mapping[str, float], videos: Mapping[str, str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sum of the shares and number of questions of every video, float [videos]."""
    order = {video: number for number, video in enumerate(dict.fromkeys(videos[key] for key in shares))}
    index = [order[videos[key]] for key in shares]
    return np.bincount(index, weights=list(shares.values())), np.bincount(index).astype(np.float64)


def _drawn_means(sums: NDArray[Any], counts: NDArray[Any], resamples: int) -> NDArray[Any]:
    """The mean over the questions of as many videos as there are, drawn with replacement; float [resamples]."""
    rng = np.random.default_rng(SEED)
    videos = len(sums)
    means = []
    for first in range(0, resamples, _CHUNK):
        times = rng.multinomial(videos, np.full(videos, 1 / videos), size=min(_CHUNK, resamples - first))
        means.append((times @ sums) / (times @ counts))
    return np.concatenate(means)


def _percentiles(values: NDArray[Any]) -> list[float]:
    tail = (100 - CONFIDENCE) / 2
    return [float(x) for x in np.percentile(values, [tail, 100 - tail])]


def _exchange_p(differences: NDArray[Any], resamples: int) -> float:
    """Share of random signs that give a sum as far from 0 as the one that was found, which counts as one of them."""
    rng = np.random.default_rng(SEED)
    found = abs(differences.sum()) * (1 - 1e-12)
    as_far = 0
    for first in range(0, resamples, _CHUNK):
        signs = rng.choice((-1.0, 1.0), size=(min(_CHUNK, resamples - first), len(differences)))
        as_far += int((np.abs(signs @ differences) >= found).sum())
    return (as_far + 1) / (resamples + 1)
