"""Where an optimizer step gets its micro-batches: read from the data loader, then moved to the device.

A GPU computes long after Python has queued the work. `Prefetcher` uses that: while a micro-batch is computed, the next
one is copied, on a CUDA stream of its own; and before a step waits for its results, the first micro-batch of the next
step is fetched. What is fetched ahead does not count as trained on, since a run counts finished steps and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from timechat.batch import Batch
from timechat.errors import TimeChatError
from timechat.runners.logs import Meter


class Fetcher:
    """Fetches and moves micro-batches when they are needed, on any device.

    Args:
        groups: the micro-batches of each step of an epoch.
        device: to move them to.
        meter: counts the wait for data.
    """

    def __init__(self, groups: Iterator[list[Batch]], device: torch.device, meter: Meter):
        self._groups, self._device, self._meter = groups, device, meter

    def fetch(self) -> tuple[list[Batch], TimeChatError | None]:
        """The micro-batches of the next step, in main memory, or the error that prevents them."""
        waiting = time.perf_counter()
        try:
            return next(self._groups), None
        except TimeChatError as error:
            return [], error
        finally:
            self._meter.waiting += time.perf_counter() - waiting

    def moved(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        """A step's micro-batches on the device, one after the other; whoever iterates queues its work in between."""
        for batch in batches:
            yield batch.to(self._device)


class Prefetcher(Fetcher):
    """Fetches and copies ahead, to a CUDA device; batches must lie in pinned memory, or copies do not overlap.

    This takes the memory of one or two more micro-batches on the device, and of one more step in main memory.
    """

    def __init__(self, groups: Iterator[list[Batch]], device: torch.device, meter: Meter):
        super().__init__(groups, device, meter)
        self._stream = torch.cuda.Stream(device)
        self._ahead: tuple[list[Batch], Exception | None] | None = None
        self._copy: tuple[Batch, Batch] | None = None  # a micro-batch in main memory, and its copy, perhaps unfinished
        # When the device had nothing left to do but wait for data, and when it got data.
        self._idle = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def fetch(self) -> tuple[list[Batch], TimeChatError | None]:
        """As above; an error that was met while looking ahead comes now, when the step before it is finished."""
        if self._ahead is None:  # the first step
            return super().fetch()
        (batches, error), self._ahead = self._ahead, None
        self._idle[1].synchronize()
        self._meter.waiting += self._idle[0].elapsed_time(self._idle[1]) / 1000
        if error is not None and not isinstance(error, TimeChatError):
            raise error
        return batches, error

    def moved(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        """As above. When all work of this step is queued, the next step is fetched and its first copy begins."""
        for number, batch in enumerate(batches):
            copy = self._finished(batch)
            if number + 1 < len(batches):
                self._begin(batches[number + 1])
            yield copy
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Fetch the next step, if the epoch has one. The device still works on this one."""
        computing = torch.cuda.current_stream(self._device)
        self._idle[0].record(computing)
        try:
            self._ahead = next(self._groups, []), None
            if self._ahead[0]:
                self._begin(self._ahead[0][0])
        except Exception as error:  # whatever it is, this step must not suffer from it
            self._ahead = [], error
        self._idle[1].record(computing)

    def _begin(self, batch: Batch) -> None:
        """Queue the copy of a micro-batch."""
        with torch.cuda.stream(self._stream):
            self._copy = batch, batch.to(self._device)

    def _finished(self, batch: Batch) -> Batch:
        """The copy of a micro-batch, begun before or only now; what is queued after this call may use it."""
        if self._copy is None or self._copy[0] is not batch:
            self._begin(batch)
        assert self._copy is not None
        (_, copy), self._copy = self._copy, None
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        copy.record_stream(computing)
        return copy


def build_fetcher(groups: Iterator[list[Batch]], device: torch.device, meter: Meter) -> Fetcher:
    """The kind that suits a device; arguments as for `Fetcher`."""
    return (Prefetcher if device.type == "cuda" else Fetcher)(groups, device, meter)
