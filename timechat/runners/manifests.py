"""What manifests leave out of the data of a run: it decides which sample is at which position of the stream.

Checkpoints hold a hash of it, and a run goes on only with the same, wherever the manifest lies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timechat.datasets.base import VideoDataset
from timechat.errors import ConfigError
from timechat.runners.resume import ResumePoint

logger = logging.getLogger(__name__)

MANIFESTS = "manifests"  # in a checkpoint's `progress`: dataset -> hash of what its manifest leaves out


def digests_of(datasets: Sequence[VideoDataset]) -> dict[str, str]:
    """What is left out of each dataset that has a manifest, as hashes."""
    return {dataset.name: dataset.manifest.digest for dataset in datasets if dataset.manifest}


def facts_of(datasets: Sequence[VideoDataset]) -> dict[str, Any]:
    """The manifests and their counts, for `run_info.json`."""
    return {dataset.name: dataset.manifest.facts() for dataset in datasets if dataset.manifest}


def must_leave_out_the_same(datasets: Sequence[VideoDataset], point: ResumePoint | None) -> None:
    """Compare the manifests with those of the run that is resumed; of one that the config names, only warn.

    Raises:
        ConfigError: other items are left out.
    """
    if point is None or not point.progress:
        return
    changes = "; ".join(_changes(point.progress.get(MANIFESTS, {}), digests_of(datasets), datasets))
    if changes and point.named:
        logger.warning("%s: was written with other manifests: %s", point.source, changes)
    elif changes:
        raise ConfigError(
            f"{point.source}: the run began with other manifests: {changes}. Restore them, give another "
            f"run.output_dir, or go on with another order of samples: run.resume={point.path.parent}"
        )


def _changes(before: Mapping[str, str], now: Mapping[str, str], datasets: Sequence[VideoDataset]) -> Iterator[str]:
    for dataset in datasets:
        then, current = before.get(dataset.name), now.get(dataset.name)
        if then != current:
            what = "left out nothing then" if then is None else "left out other items then"
            yield f"datasets.{dataset.name}.build_info.manifest {what}" + ("" if current else ", nothing now")
