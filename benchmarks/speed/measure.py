"""Measuring: medians of works that take turns, in a child process of their own, whose peak memory is its alone.

The machine may be busy with other work. So the works of a comparison take turns, and wall-clock and processor time are
both measured: where they are far apart, others were running.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

Work = Callable[[], object]


class Timing(NamedTuple):
    """Medians of several runs, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Patience:
    """How often a work is repeated.

    Attributes:
        seconds: of all works of a comparison together.
        least, most: repetitions.
        threads: of torch.
    """

    seconds: float = 40.0
    least: int = 3
    most: int = 15
    threads: int = 2


class MeasurementError(RuntimeError):
    """A measurement's process raised an error, or died."""


def cpu_seconds() -> float:
    """Processor time of this process and those that it has started, user and system."""
    children = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        children += times.user + times.system
    return time.process_time() + children


def timed(work: Work) -> Timing:
    """One run."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    wall = time.perf_counter() - wall
    return Timing(wall, cpu_seconds() - cpu)


def interleaved(works: Mapping[str, Work], patience: Patience) -> dict[str, Timing]:
    """The median of each work; they take turns, after one run of each that does not count."""
    for work in works.values():
        work()
    runs: dict[str, list[Timing]] = {name: [] for name in works}
    started = time.perf_counter()
    for turn in range(patience.most):
        if turn >= patience.least and time.perf_counter() - started > patience.seconds:
            break
        for name, work in works.items():
            runs[name].append(timed(work))
    return {name: median(of_one) for name, of_one in runs.items()}


def median(runs: Sequence[Timing]) -> Timing:
    """Of wall-clock and of processor time."""
    return Timing(*(statistics.median(values) for values in zip(*runs, strict=True)))


class Outcome(NamedTuple):
    """What a child process gave: its result, and the most memory that it held beyond what it began with, bytes."""

    value: Any
    peak: float


def in_child(work: Callable[[], Any], threads: int) -> Outcome:
    """Run something in a fork of this process, which must not have computed with torch before.

    A fork begins with this process's imports in memory; what it holds beyond them at most is the peak.

    Raises:
        MeasurementError: with the traceback of the child.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(work, threads, sender))
    process.start()
    sender.close()
    try:
        failure, outcome = receiver.recv()
    except EOFError:
        process.join()
        raise MeasurementError(f"the process of a measurement ended with status {process.exitcode}") from None
    process.join()
    if failure:
        raise MeasurementError(failure)
    return outcome


def _report(work: Callable[[], Any], threads: int, sender: Connection) -> None:
    torch.set_num_threads(threads)
    before = resident()
    try:
        value = work()
        sender.send(("", Outcome(value, max(0.0, peak_resident() - before))))
    except Exception:
        sender.send((traceback.format_exc(), None))


def resident() -> float:
    """Bytes of main memory that this process holds now."""
    return float(psutil.Process().memory_info().rss)


def peak_resident() -> float:
    """The most bytes that this process has held."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(largest if sys.platform == "darwin" else largest * 1024)  # Linux counts KiB


# What the machine can do ----------------------------------------------------------------------------------------------

_SIDE = 2048  # of the matrices
MATMUL_FLOPS = 2.0 * _SIDE**3
READ_BYTES = 256 * 2**20  # far more than caches hold


def yardsticks(dtype: torch.dtype = torch.float32) -> dict[str, Work]:
    """A product of MATMUL_FLOPS, and reading READ_BYTES from main memory.

    They take turns with what is compared with them, so that they see the same machine.
    """
    one, other = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    numbers = torch.ones(READ_BYTES // 4)
    return {"matmul": lambda: one @ other, "read": lambda: numbers.sum()}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else psutil.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": has_bf16(),
        "load": psutil.getloadavg()[0],
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def has_bf16() -> str:
    """The processor's units for bf16: avx512_bf16 or amx_bf16; empty without them, where bf16 is emulated, slowly."""
    flags = set(" ".join(_lines("flags")).split())
    return next((unit for unit in ("amx_bf16", "avx512_bf16") if unit in flags), "")


def _processor() -> str:
    return next(_lines("model name"), "unknown")


def _lines(key: str) -> Iterator[str]:
    """What /proc/cpuinfo says of a key, where there is such a file."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() == key:
            yield value.strip()
