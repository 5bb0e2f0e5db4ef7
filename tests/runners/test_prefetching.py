"""Copies to a GPU that overlap with computing: the order of all calls, and that a run does not notice.

There is no GPU here: torch.cuda's streams have stand-ins, and the "device" is the CPU.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers.cuda_stand_in import CudaStandIn
from helpers.interruptions import DROPOUT, LONG, NAMES, Case, at_step
from helpers.training import read_lines

from timechat.batch import Batch
from timechat.errors import AnnotationError
from timechat.runners import Runner, prefetching
from timechat.runners import runner as runner_module
from timechat.runners.logs import Meter
from timechat.runners.prefetching import Fetcher, Prefetcher, build_fetcher

CPU = torch.device("cpu")


@dataclass
class Watched(Batch):
    """Notes where it is copied."""

    cuda: CudaStandIn
    words: torch.Tensor

    def to(self, device: torch.device | str) -> Watched:
        """A copy, on the same device."""
        self.cuda.calls.append(f"{self.cuda.current.name} copies {self.keys[0]}")
        return self._map(torch.clone)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaStandIn:
    stand_in = CudaStandIn(idle_ms=250.0)
    stand_in.install(monkeypatch.setattr)
    return stand_in


def batch(cuda: CudaStandIn, name: str) -> Watched:
    return Watched(torch.ones(2, 3, 1, 1), [2], keys=[name], cuda=cuda, words=torch.ones(2, 5))


def groups(cuda: CudaStandIn, *steps: str, error: Exception | None = None) -> Iterator[list[Batch]]:
    """Steps of micro-batches with one-letter names, then an error, if there is one."""
    for names in steps:
        cuda.calls.append(f"read {names}")
        yield [batch(cuda, name) for name in names]
    if error:
        raise error


def train(fetcher: Fetcher, cuda: CudaStandIn, steps: int) -> None:
    """As the runner does, without computing anything."""
    for _ in range(steps):
        batches, failure = fetcher.fetch()
        assert failure is None
        for host, moved in zip(batches, fetcher.moved(batches), strict=True):
            assert moved is not host
            assert torch.equal(moved.frames, host.frames)
            cuda.calls.append(f"compute {moved.keys[0]}")
        cuda.calls.append("wait for the results")


def handed_over() -> list[str]:
    """The computing stream waits before it uses the copy, and the allocator hears of each of its tensors."""
    return ["main waits for side", "(2, 3, 1, 1) is used by main", "(2, 5) is used by main"]


def test_the_next_copy_begins_before_this_one_is_used(cuda: CudaStandIn) -> None:
    """Before: waiting for the side stream then would be waiting for the next copy, too."""
    train(Prefetcher(groups(cuda, "abc", "d"), CPU, Meter()), cuda, steps=2)
    assert cuda.calls == [
        "read abc",
        "side copies a", *handed_over(), "side copies b", "compute a",
        *handed_over(), "side copies c", "compute b",
        *handed_over(), "compute c",
        "event on main", "read d", "side copies d", "event on main",
        "wait for the results",
        *handed_over(), "compute d",
        "event on main", "event on main",  # nothing is left to read
        "wait for the results",
    ]  # fmt: skip


def test_without_a_gpu_nothing_is_read_ahead(cuda: CudaStandIn) -> None:
    train(build_fetcher(groups(cuda, "ab", "c"), CPU, Meter()), cuda, steps=2)
    assert cuda.calls == [
        "read ab", "main copies a", "compute a", "main copies b", "compute b", "wait for the results",
        "read c", "main copies c", "compute c", "wait for the results",
    ]  # fmt: skip


def test_each_device_has_its_kind(cuda: CudaStandIn) -> None:
    kinds = [type(build_fetcher(iter(()), torch.device(name), Meter())) for name in ("cpu", "cuda", "cuda:1")]
    assert kinds == [Fetcher, Prefetcher, Prefetcher]


@pytest.mark.parametrize("error", [AnnotationError("damaged"), RuntimeError("out of memory")])
def test_an_error_of_the_next_step_comes_when_this_one_is_finished(cuda: CudaStandIn, error: Exception) -> None:
    fetcher = Prefetcher(groups(cuda, "a", error=error), CPU, Meter())
    train(fetcher, cuda, steps=1)
    assert cuda.calls[-1] == "wait for the results"
    if isinstance(error, AnnotationError):
        assert fetcher.fetch() == ([], error)
    else:
        with pytest.raises(RuntimeError, match="out of memory"):
            fetcher.fetch()


def test_waiting_for_data_counts_while_the_gpu_has_nothing_to_do(
    cuda: CudaStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes 10 s each time. The GPU waits for all of the first; then 0.25 s, as its events say."""
    now = [0.0]
    monkeypatch.setattr(prefetching.time, "perf_counter", lambda: now[0])

    def slow() -> Iterator[list[Batch]]:
        for group in groups(cuda, "a", "b", "c"):
            now[0] += 10.0
            yield group

    meter = Meter()
    train(Prefetcher(slow(), CPU, meter), cuda, steps=3)
    assert meter.waiting == 10.5
    train(Fetcher(slow(), CPU, meter := Meter()), cuda, steps=3)
    assert meter.waiting == 30.0


# Whole runs -----------------------------------------------------------------------------------------------------------


def prefetch(runner: Runner) -> None:
    """From now on in this process."""
    CudaStandIn().install(setattr)
    runner_module.build_fetcher = Prefetcher


@pytest.mark.forks
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_fetched_ahead_does_not_count(base: Path, tmp_path: Path, workers: int) -> None:
    """A run that fetches ahead, stops and resumes learns, skips and logs what a plain run does, to the last bit."""
    videos = tmp_path / "videos"
    shutil.copytree(base / "videos", videos)
    (videos / NAMES[1]).write_text("no video")
    options = (*LONG, *DROPOUT, "run.max_skip_ratio=1.0", f"run.num_workers={workers}")
    plain, ahead = (Case(videos, tmp_path / name, options) for name in ("plain", "ahead"))
    assert plain.run() == [0], plain.said()

    def stop(runner: Runner) -> None:
        prefetch(runner)
        at_step(2, lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGTERM)))(runner)

    assert ahead.run(stop) == [0], ahead.said()
    assert "stopped by SIGTERM after step 2" in ahead.said()
    assert ahead.run(prefetch) == [0], ahead.said()
    assert "resuming after step 2\n" in ahead.said()
    assert ahead.result() == plain.result()
    assert ahead.drawn() == plain.drawn()
    skipped = [read_lines(case.output / "skipped.jsonl") for case in (ahead, plain)]
    assert skipped[0] == skipped[1] != []
