"""Operations on a CUDA GPU that are recorded once and replayed, as CUDA graphs: the host starts all of them as one.

While one thread records, others must neither wait for the whole device nor draw random numbers on it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

_LEAST_FREE = 1 << 30  # bytes of a GPU, for what is computed in between

# Held while something is recorded, and by whoever does what would break that.
no_recording = threading.Lock()


class Recorder:
    """Records one thing after the other, in memory of its own; what was recorded before must not be replayed any more.

    The memory of a graph that is gone would stay reserved, and unused; a graph of nothing keeps it for the next ones.

    Args:
        device: a CUDA GPU.
    """

    def __init__(self, device: torch.device):
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._nothing = torch.cuda.CUDAGraph()
        with self._recording(self._nothing):
            self._kept = torch.zeros(1, device=device)

    def record(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record a step without taking it.

        Args:
            step: reads and writes tensors that stay where they are, and never asks the host.

        Returns:
            What takes it; it always writes into the same result.
        """
        graph = torch.cuda.CUDAGraph()
        with self._recording(graph):
            result = step()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    @contextmanager
    def _recording(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        with no_recording:
            # Not torch.cuda.graph, which gives all unused memory back to the driver each time. While something is
            # recorded none can be given back, however little there is left.
            torch.cuda.synchronize(self._device)
            if torch.cuda.mem_get_info(self._device)[0] < _LEAST_FREE:
                torch.cuda.empty_cache()
            with torch.cuda.stream(self._stream):
                # Other threads may go on: they read videos into pinned memory.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    yield
                except BaseException:
                    with suppress(RuntimeError):  # what came first says more
                        graph.capture_end()
                    raise
                graph.capture_end()


class Recorders:
    """Those that nobody uses; as many are made as answers are written at the same time, in threads of a process."""

    def __init__(self) -> None:
        self._lock, self._idle = threading.Lock(), defaultdict[torch.device, list[Recorder]](list)

    def take(self, device: torch.device) -> Recorder:
        """One for a GPU, to be given back."""
        with self._lock:
            if self._idle[device]:
                return self._idle[device].pop()
        return Recorder(device)

    def give_back(self, device: torch.device, recorder: Recorder) -> None:
        """Let others use it."""
        with self._lock:
            self._idle[device].append(recorder)


recorders = Recorders()
