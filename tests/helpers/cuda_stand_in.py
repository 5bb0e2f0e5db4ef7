"""torch.cuda's streams and events on a machine without a GPU: nothing runs beside anything, but all calls are noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stream:
    """A name, and notes of what it waits for."""

    def __init__(self, name: str, calls: list[str]):
        self.name, self.calls = name, calls

    def wait_stream(self, other: Stream) -> None:
        """A note."""
        self.calls.append(f"{self.name} waits for {other.name}")


class CudaStandIn:
    """What `timechat.runners.prefetching` calls of torch.cuda; the computing stream is "main", any other "side".

    Attributes:
        calls: notes, in order; tests add their own.
        idle_ms: between any two events.
    """

    def __init__(self, idle_ms: float = 0.0) -> None:
        self.calls: list[str] = []
        self.idle_ms = idle_ms
        self.current = Stream("main", self.calls)

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Take the place of torch's; `patch` is `setattr`, or that of pytest."""
        patch(torch.cuda, "Stream", lambda device: Stream("side", self.calls))
        patch(torch.cuda, "stream", self._used)
        patch(torch.cuda, "current_stream", lambda device: self.current)
        patch(torch.cuda, "Event", lambda enable_timing: Event(self))
        note = lambda tensor, stream: self.calls.append(f"{tuple(tensor.shape)} is used by {stream.name}")  # noqa: E731
        patch(torch.Tensor, "record_stream", note)

    @contextmanager
    def _used(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before


class Event:
    """Notes where it stands."""

    def __init__(self, cuda: CudaStandIn):
        self.cuda = cuda

    def record(self, stream: Stream) -> None:
        """A note."""
        self.cuda.calls.append(f"event on {stream.name}")

    def synchronize(self) -> None:
        """Nothing runs."""

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds."""
        return self.cuda.idle_ms
