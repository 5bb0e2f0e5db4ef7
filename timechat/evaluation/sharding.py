"""Which process answers which questions: grouped by the clip that they are about, balanced by estimated cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timechat.evaluation.benchmarks import Question

# Rough seconds on one recent GPU; only their ratios matter. A file is read whole before it is sampled, so that large
# files take longer, whatever the number of frames.
SECONDS_PER_CLIP = 1.0
SECONDS_PER_MEGABYTE = 0.02
SECONDS_PER_ANSWER = 1.0


@dataclass(frozen=True)
class Clip:
    """A clip, which is decoded and encoded once, with all questions about it.

    Attributes:
        video, start, end, frame_rate: as of `Question`.
        questions: in the order of the annotations.
    """

    video: str
    start: float | None
    end: float | None
    frame_rate: float | None
    questions: tuple[Question, ...]


def clips_of(questions: Sequence[Question]) -> list[Clip]:
    """Group questions by (video, start, end, frame_rate), in the order in which each clip appears first."""
    groups: dict[tuple[str, float | None, float | None, float | None], list[Question]] = {}
    for q in questions:
        groups.setdefault((q.video, q.start, q.end, q.frame_rate), []).append(q)
    return [Clip(*key, questions=tuple(group)) for key, group in groups.items()]


def clip_cost(clip: Clip, videos_dir: Path) -> float:
    """Estimated seconds to decode and encode a clip and to answer its questions.

    A file that is not there costs nothing to decode; the size of a folder of images says nothing.
    """
    path = videos_dir / clip.video
    megabytes = path.stat().st_size / 1e6 if path.is_file() else 0.0
    return SECONDS_PER_CLIP + SECONDS_PER_MEGABYTE * megabytes + SECONDS_PER_ANSWER * len(clip.questions)


def assign(costs: Sequence[float], processes: int) -> list[list[int]]:
    """Balance items over processes: the most expensive first, each to the process with the least work so far.

    The slowest process takes at most 4/3 of the optimum (Graham, 1969). The same input gives the same assignment
    in every process, so nothing has to be communicated.

    Args:
        costs: of each item, 0 or more.
        processes: number of processes, 1 or more.

    Returns:
        The indices of each process's items, the most expensive first.
    """
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0.0] * processes
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(range(processes), key=lambda p: (loads[p], p))
        shares[least].append(index)
        loads[least] += costs[index]
    return shares
