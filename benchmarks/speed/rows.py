"""A row of the table: what this project takes, what the reference takes, and the least that the machine allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from benchmarks.speed.measure import (
    MATMUL_FLOPS,
    READ_BYTES,
    Patience,
    Timing,
    Work,
    in_child,
    interleaved,
    yardsticks,
)

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes; None where it was not measured."""

    wall: float
    cpu: float
    peak: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        this, eager: what it takes here, and with the reference.
        floor: seconds that the machine needs at least, of the clock and of the processor.
        bound: what the floor is made of.
        note: what a reader should know.
    """

    what: str
    this: Cost
    eager: Cost | None = None
    floor: Timing | None = None
    bound: str = ""
    note: str = ""


@dataclass(frozen=True)
class Floor:
    """What has to be done at least.

    Attributes:
        flops: operations, at the rate of a large product of matrices.
        read: bytes read from memory, at the bandwidth measured.
        dtype: of the products.
    """

    flops: float = 0.0
    read: float = 0.0
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Comparison:
    """Works to be compared, over what they share.

    Attributes:
        works: `this`, and `eager` if there is a reference.
        floor: of `this`.
    """

    works: Mapping[str, Work]
    floor: Floor = field(default_factory=Floor)


def compare(what: str, prepare: Callable[[], Comparison], patience: Patience, note: str = "") -> Row:
    """Time the works of a comparison in turns, then run each alone for its memory, everything in child processes.

    Args:
        what: the row's name.
        prepare: builds the works, within each child.
    """
    costs, floor, bound = in_child(partial(_times, prepare, patience), patience.threads).value
    peaks = {name: in_child(partial(_alone, prepare, name), patience.threads).peak for name in costs}
    this, eager = (Cost(*costs[name], peaks[name]) if name in costs else None for name in ("this", "eager"))
    assert this is not None
    return Row(what, this, eager, floor, bound, note)


def _times(prepare: Callable[[], Comparison], patience: Patience) -> tuple[dict[str, Timing], Timing | None, str]:
    comparison = prepare()
    floor = comparison.floor
    timings = interleaved({**comparison.works, **yardsticks(floor.dtype)}, patience)
    needed, parts = [0.0, 0.0], []
    for amount, work, done, unit in (
        (floor.flops, "matmul", MATMUL_FLOPS, "FLOP"),
        (floor.read, "read", READ_BYTES, "B"),
    ):
        if amount:
            needed = [sum + amount / done * once for sum, once in zip(needed, timings[work], strict=True)]
            parts.append(f"{amount / 1e9:.1f} G{unit} at {done / timings[work].wall / 1e9:.1f} G{unit}/s")
    costs = {name: timings[name] for name in comparison.works}
    return costs, Timing(*needed) if parts else None, ", ".join(parts)


def _alone(prepare: Callable[[], Comparison], name: str) -> None:
    work = prepare().works[name]
    for _ in range(2):  # an optimizer's state is there from the second step on
        work()


def as_record(row: Row) -> dict[str, Any]:
    """A row for JSON."""
    record: dict[str, Any] = {"what": row.what, "bound": row.bound, "note": row.note}
    if row.floor:
        record |= {"floor_wall_s": row.floor.wall, "floor_cpu_s": row.floor.cpu}
    for name, cost in (("this", row.this), ("eager", row.eager)):
        if cost:
            record |= {f"{name}_wall_s": cost.wall, f"{name}_cpu_s": cost.cpu, f"{name}_peak_bytes": cost.peak}
    return record


HEADINGS = (
    *("what", "this", "eager", "ratio", "this, CPU", "eager, CPU", "ratio", "this, MiB", "eager, MiB", "share"),
    *("share, CPU", "floor"),
)


def cells(row: Row) -> tuple[str, ...]:
    """A row for people."""
    this, eager = row.this, row.eager
    peaks = (this.peak, eager.peak if eager else None)
    shares = ("", "")
    if row.floor:
        shares = (f"{row.floor.wall / this.wall:.0%}", f"{row.floor.cpu / this.cpu:.0%}" if this.cpu else "")
    return (
        row.what,
        seconds(this.wall),
        seconds(eager.wall) if eager else "",
        f"{eager.wall / this.wall:.2f}" if eager else "",
        seconds(this.cpu),
        seconds(eager.cpu) if eager else "",
        f"{eager.cpu / this.cpu:.2f}" if eager and this.cpu else "",
        *("" if peak is None else f"{peak / MIB:,.0f}" for peak in peaks),
        *shares,
        row.bound,
    )


def seconds(value: float) -> str:
    """With a unit that fits."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def table(rows: Sequence[Row]) -> str:
    """Columns side by side: the first and the last one to the left, numbers to the right."""
    lines = [HEADINGS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for first, *numbers, last in lines:
        middle = "  ".join(cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True))
        text += f"{first.ljust(widths[0])}  {middle}  {last}".rstrip() + "\n"
    return text


def notes(rows: Sequence[Row]) -> str:
    """What a reader should know about some of them, a line each."""
    return "".join(f"{row.what}: {row.note}\n" for row in rows if row.note)
