"""Videos that annotations name and this machine lacks: counted before a run, and refused or left out of it.

What is left out decides which sample is at which position of the stream, so checkpoints hold the list, and a resumed
run keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from timechat import distributed
from timechat.datasets.base import VideoDataset
from timechat.datasets.presence import Presence
from timechat.errors import ConfigError
from timechat.runners.resume import ResumePoint
from timechat.sources import videos_from

logger = logging.getLogger(__name__)

ERROR, DROP = "error", "drop"
MISSING = "missing_videos"  # in a checkpoint's `progress`: dataset -> paths

Paths = dict[str, list[str]]


@dataclass(frozen=True)
class Stock:
    """What a run has of its videos.

    Attributes:
        left_out: paths of the files that the run does without, by dataset; a dataset that has all is not named.
        facts: counts, for `run_info.json`.
    """

    left_out: Paths
    facts: dict[str, Any]


def leave_out_missing(
    datasets: Sequence[VideoDataset], policy: str, point: ResumePoint | None = None, what: str = "training data"
) -> Stock:
    """Look for all videos, and take the samples of missing ones out of the datasets; collective.

    The main process looks, so that all processes have the same samples even if they see different files.

    Args:
        datasets: of the run; changed.
        policy: `run.missing_videos`.
        point: where the run resumes.
        what: these data are, for messages.

    Raises:
        ConfigError: files are missing that may not be, all counted by source.
    """

    def look() -> Stock:
        found = [dataset.presence() for dataset in datasets]
        for presence in found:
            _log(presence, what)
        if problem := problem_with(found, policy, what):
            raise ConfigError(problem)
        left_out = _as_before(found, datasets, point)
        return Stock(left_out, {presence.dataset: _facts(presence, left_out) for presence in found})

    stock = distributed.on_main_process(look)
    for dataset in datasets:
        if paths := stock.left_out.get(dataset.name):
            dataset.leave_out(set(paths))
    return stock


def problem_with(found: Sequence[Presence], policy: str, what: str = "training data") -> str | None:
    """Why a run cannot start with the videos that are there, and what to do; None if it can."""
    lacking = [presence for presence in found if presence.samples_there < presence.samples]
    empty = [presence for presence in lacking if not presence.samples_there]
    if not empty and (policy == DROP or not lacking):
        return None
    lines = [line for presence in (lacking if policy == ERROR else empty) for line in describe(presence)]
    ways = ["put the files there", "correct datasets.*.build_info.videos_dir"]
    if policy == ERROR and not empty:
        ways.append("train without them: run.missing_videos=drop")
    elif empty:
        names = ", ".join(presence.dataset for presence in empty)
        ways.append(f"take what has no file at all out of datasets ({names})")
        if policy == ERROR:
            ways[-1] += " and train without the rest: run.missing_videos=drop"
    return f"run.missing_videos={policy}: videos of the {what} are missing:\n  " + "\n  ".join(
        [*lines, ", or ".join([", ".join(ways[:-1]), ways[-1]])]
    )


def describe(presence: Presence) -> Iterator[str]:
    """What a dataset has, and what its sources lack, one line each, with the place that they come from."""
    yield f"{presence} (videos_dir={presence.videos_dir})"
    for line, paths in zip(presence.by_source(), presence.lacking().values(), strict=True):
        place = videos_from(paths[0])
        yield f"  {line}" + (f"; from {place}" if place else "")


def _log(presence: Presence, what: str) -> None:
    if presence.samples_there == presence.samples:
        logger.info("%s: %s", what, presence)
    else:
        logger.warning("%s: %s; %s", what, presence, "; ".join(presence.by_source()))


def _facts(presence: Presence, left_out: Paths) -> dict[str, Any]:
    """The counts of a dataset, JSON-ready."""
    return {
        "samples": presence.samples,
        "samples_there": presence.samples_there,
        "files": sum(presence.files.values()),
        "files_there": presence.files_there,
        "files_left_out": len(left_out.get(presence.dataset, ())),
        "missing_by_source": {s: len(paths) for s, paths in presence.missing.items() if paths},
    }


def _as_before(found: Sequence[Presence], datasets: Sequence[VideoDataset], point: ResumePoint | None) -> Paths:
    """What to leave out: what is missing, or what the run that is resumed left out. Raises ConfigError."""
    now = {presence.dataset: presence.missing_paths for presence in found if presence.missing_paths}
    if point is None or not point.progress:
        return now
    before: Paths = point.progress.get(MISSING, {})
    gone = {name: _without(paths, before.get(name, ())) for name, paths in now.items()}
    came = {
        dataset.name: _without([path for path in before[dataset.name] if path in paths], now.get(dataset.name, ()))
        for dataset in datasets
        if dataset.name in before
        for paths in [{dataset.path(index) for index in range(len(dataset))}]
    }
    changes = "; ".join([*_counted(gone, "gone"), *_counted(came, "there now")])
    if not changes:
        return now
    if point.named:
        logger.warning(
            "%s: since it was written, videos have changed: %s; what is there now is trained on, so that within this "
            "epoch some samples come twice and others not at all", point.source, changes
        )  # fmt: skip
        return now
    if any(gone.values()):
        raise ConfigError(
            f"{point.source}: the run began with videos that are missing now: {changes}. Put them back (is a disk "
            f"mounted?), or go on with what is there, in another order of samples: run.resume={point.path.parent}"
        )
    logger.warning(
        "%s: videos that were missing when the run began exist now: %s; the run goes on without them, with the same "
        "samples in the same order. To train on them, too: run.resume=%s", point.source, changes, point.path.parent
    )  # fmt: skip
    return before


def _without(paths: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [path for path in paths if path not in known]


def _counted(paths: Paths, what: str) -> Iterator[str]:
    for name, some in paths.items():
        if some:
            yield f"{len(some):,} files of datasets.{name} are {what}, such as {some[0]}"
