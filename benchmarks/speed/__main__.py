"""Prints how fast TimeChat is: beside a reference that computes step by step, and beside what the machine can do.

    make bench
    python -m benchmarks.speed [--only encode,train] [--json FILE]

Everything is measured with random weights of a size for two CPU cores, in child processes; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.measure import MeasurementError, Patience, in_child, machine
from benchmarks.speed.printing import be_quiet, say
from benchmarks.speed.rows import Row, as_record, notes, table
from benchmarks.speed.sizes import SIZES, Bench
from benchmarks.speed.subjects import SUBJECTS
from timechat.io import write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and print it as it comes."""
    asked = _arguments(arguments)
    be_quiet()
    patience = Patience(asked.seconds, asked.least, threads=asked.threads)
    facts, rows, failed = machine(), [], []
    say(", ".join(f"{name} {value}" for name, value in {**facts, "threads": asked.threads}.items()))
    with tempfile.TemporaryDirectory(prefix="timechat_bench_") as folder:
        bench = Bench(SIZES[asked.size], Path(folder))
        in_child(bench.write, asked.threads)
        for name in asked.only:
            measured: list[Row] = []
            try:
                for row in SUBJECTS[name](bench, patience):
                    measured.append(row)
                    say(f"... {row.what}")
            except MeasurementError as error:
                failed.append(name)
                say(f"{name} failed:\n{error}")
            rows += measured
            say(table(measured))
    say(table(rows) + "\n" + notes(rows))
    if asked.json:
        write_json(asked.json, {"machine": facts, "size": asked.size, "rows": [*map(as_record, rows)]})
    if failed:
        say(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    names = ", ".join(SUBJECTS)
    parser.add_argument("--only", type=_subjects, default=[*SUBJECTS], help=f"some of them, with commas: {names}")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--size", choices=[*SIZES], default="mid", help="of the model; tiny only shows that it runs")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--seconds", type=float, default=30.0, help="for the repetitions of a comparison")
    parser.add_argument("--least", type=int, default=3, help="fewest repetitions")
    return parser.parse_args(arguments)


def _subjects(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SUBJECTS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(SUBJECTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
