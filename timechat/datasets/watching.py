"""What each DataLoader worker is reading, so that the file on which one hangs or dies can be named.

A worker that hangs cannot say so. Each worker therefore records in shared memory when it starts and finishes reading a
sample, and the training process checks, while it waits for data, whether these records still change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from timechat.datasets.sampler import SampleRef

_PID, _DATASET, _INDEX, _CHANGES = range(4)  # columns; changes are odd while a sample is being read


@dataclass(frozen=True)
class Reading:
    """A sample that is being read, and the process that reads it."""

    pid: int
    ref: SampleRef


class ReadingBoard:
    """One row per worker: the worker writes it, the training process reads it.

    Args:
        num_workers: `num_workers` of the DataLoader.
    """

    def __init__(self, num_workers: int):
        self._rows = torch.zeros(num_workers, 4, dtype=torch.int64).share_memory_()
        self.forget_time()

    @contextmanager
    def note(self, ref: SampleRef) -> Iterator[None]:
        """Wrap the reading of a sample in a worker. Does nothing without workers, since nobody watches then."""
        worker = torch.utils.data.get_worker_info()
        if worker is None:
            yield
            return
        row = self._rows[worker.id]
        row[:_CHANGES] = torch.tensor([os.getpid(), ref.dataset, ref.index])
        row[_CHANGES] += 1
        try:
            yield
        finally:
            row[_CHANGES] += 1

    def readings(self) -> list[Reading]:
        """The samples that are being read now."""
        return [_reading(row) for row in self._rows.tolist() if row[_CHANGES] % 2]

    def forget_time(self) -> None:
        """Restart the count of how long each row has stayed the same."""
        self._seen, self._still = self._rows.clone(), torch.zeros(len(self._rows), dtype=torch.float64)

    def wait(self, seconds: float, limit: float) -> tuple[list[Reading], bool]:
        """Record that the training process has waited for data.

        Only waiting counts, not wall-clock time: a job that the scheduler suspends for an hour has not hung.

        Args:
            seconds: waited since the last call.
            limit: how many seconds a row may stay the same.

        Returns:
            The samples that have been read for at least `limit` seconds, and whether no worker made progress in that
            time.
        """
        rows = self._rows.clone()
        same = rows[:, _CHANGES] == self._seen[:, _CHANGES]
        self._still = torch.where(same, self._still + seconds, 0.0)
        self._seen = rows
        late = self._still >= limit
        return [_reading(row) for row in rows[late].tolist() if row[_CHANGES] % 2], bool(late.all())


def _reading(row: list[int]) -> Reading:
    return Reading(row[_PID], SampleRef(row[_DATASET], row[_INDEX]))
