"""What each DataLoader worker is reading right now, so that a file on which one hangs or dies can be named.

A worker that hangs cannot say so. Each one therefore notes what it begins and ends to read in a few numbers of shared
memory, and the process that trains, when it has to wait, looks whether they move.
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
    """A row for each worker, written by it and read by the process that trains.

    Args:
        num_workers: `num_workers` of the DataLoader.
    """

    def __init__(self, num_workers: int):
        self._rows = torch.zeros(num_workers, 4, dtype=torch.int64).share_memory_()
        self.forget_time()

    @contextmanager
    def note(self, ref: SampleRef) -> Iterator[None]:
        """Around the reading of a sample, in a worker; without workers nobody could look, and nothing is noted."""
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
        """What is being read at this moment."""
        return [_reading(row) for row in self._rows.tolist() if row[_CHANGES] % 2]

    def forget_time(self) -> None:
        """Begin to count anew how long the rows have not moved."""
        self._seen, self._still = self._rows.clone(), torch.zeros(len(self._rows), dtype=torch.float64)

    def wait(self, seconds: float, limit: float) -> tuple[list[Reading], bool]:
        """Take note that the process that trains has waited for data.

        Time is what was waited, not what a clock says: a job that the scheduler suspends for an hour did not hang.

        Args:
            seconds: since the last call.
            limit: how long a worker may show the same.

        Returns:
            The samples that have been read for `limit` seconds or longer, and whether nothing has moved for as long.
        """
        rows = self._rows.clone()
        same = rows[:, _CHANGES] == self._seen[:, _CHANGES]
        self._still = torch.where(same, self._still + seconds, 0.0)
        self._seen = rows
        late = self._still >= limit
        return [_reading(row) for row in rows[late].tolist() if row[_CHANGES] % 2], bool(late.all())


def _reading(row: list[int]) -> Reading:
    return Reading(row[_PID], SampleRef(row[_DATASET], row[_INDEX]))
