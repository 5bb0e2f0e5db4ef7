"""Train and score the quick start several times, to find out how far its scores differ.

    python -m quickstart.spread quickstart/configs/spread.yaml --jobs 2

The file names stages, runs (seeds, and environment variables that choose the processor's instructions), and scores.
What is finished is not done again. The folder gets a table, `spread.md`, and `found_scores.yaml` with worst, median and
best; a copy of it lies beside the plan. `--check FOLDER` trains nothing: it compares a quick start with that copy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from quickstart.children import run_child, stopping_children
from quickstart.stage_configs import stage_name
from timechat.cli.common import path, run_main
from timechat.errors import ConfigError, TrainingError
from timechat.evaluation.report import read_record
from timechat.io import write_text

ROOT = Path(__file__).resolve().parents[1]
PLAN, FOUND = ROOT / "quickstart/configs/spread.yaml", ROOT / "quickstart/configs/found_scores.yaml"
TABLE, SUMMARY = "spread.md", "found_scores.yaml"
# Percent points below the worst of the runs: one more of the same kind is below the worst now and then.
BELOW = 5.0
ENDS: dict[str, Callable[[list[float]], float]] = {"worst": min, "median": statistics.median, "best": max}


@dataclass
class Runs:
    """Trainings that differ in the seed alone.

    Attributes:
        seeds: one training each.
        environment: variables that they get.
    """

    seeds: list[int]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    """The content of the file.

    Attributes:
        stages: YAML files of the training, in order.
        runs: name -> trainings.
        scores: benchmark of `eval.sh quickstart` -> names of its scores, in percent.
    """

    stages: list[str]
    runs: dict[str, Runs]
    scores: dict[str, list[str]]


def read_plan(file: str | Path) -> Plan:
    """Read and check the file. Raises ConfigError."""
    try:
        return cast(Plan, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Plan), OmegaConf.load(file))))
    except (OSError, YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error


def run_all(plan: Plan, output: Path, jobs: int = 1) -> dict[str, dict[str, float]]:
    """Train and score what is not finished.

    Args:
        plan: what to do.
        output: gets one folder for each training.
        jobs: trainings at a time, one process each.

    Returns:
        run -> score -> value in percent.

    Raises:
        ConfigError: no job, or a score that a benchmark does not have. TrainingError: a training or scoring stopped.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs={jobs}: give 1 or more")
    work = [(name, seed) for name, runs in plan.runs.items() for seed in runs.seeds]
    with ThreadPoolExecutor(jobs) as pool:  # each thread waits for processes
        rows = list(pool.map(lambda job: _run_one(plan, output, *job), work))
    return {f"{name}, seed {seed}": row for (name, seed), row in zip(work, rows, strict=True)}


def _run_one(plan: Plan, output: Path, name: str, seed: int) -> dict[str, float]:
    folder = output / f"{name.replace(' ', '_')}_{seed}"
    variables = {**os.environ, **plan.runs[name].environment}
    train = [sys.executable, "-m", "quickstart.stages", *plan.stages, "--output", str(folder)]
    score = ["bash", str(ROOT / "eval.sh"), "quickstart"]
    scoring = variables | {"PYTHON": sys.executable, "NPROC": "1", "QUICKSTART_RUN": str(folder)}
    for command, environment in (([*train, "--options", f"run.seed={seed}"], variables), (score, scoring)):
        status = run_child(command, env=environment, stdout=subprocess.DEVNULL)
        if status:
            raise TrainingError(f"{folder}: {' '.join(command[:3])} stopped with status {status}, see above")
    return read_scores(folder / stage_name(plan.stages[-1]) / "eval", plan.scores)


def read_scores(folder: Path, scores: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The scores of finished evaluations, in percent, and R@1 by the number of a video's events.

    Args:
        folder: of `eval.sh quickstart`, with one folder for each benchmark.
        scores: benchmark -> names of its scores.

    Raises:
        ConfigError: there is no such score. PredictionError: a benchmark was not evaluated.
    """
    found: dict[str, float] = {}
    for benchmark, names in scores.items():
        record: dict[str, Any] = read_record(folder / benchmark)
        if unknown := sorted(set(names) - set(record["percent"])):
            raise ConfigError(f"scores.{benchmark}: {unknown} are not reported; there are {list(record['percent'])}")
        found |= {name: record["percent"][name] for name in names}
        for name, shares in record["controls"]["by_queries"].items():
            found |= {f"{name}, {number} events": value for number, value in shares.items() if name in names}
    return found


def summary(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Score -> its worst, median and best value among the runs."""
    scores = list(next(iter(rows.values())))
    return {score: {name: end([row[score] for row in rows.values()]) for name, end in ENDS.items()} for score in scores}


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """One row for each run, then the worst, the median and the best of each score, as Markdown."""
    scores = list(next(iter(rows.values())))
    all_rows = {**rows, **{f"**{name}**": {s: ends[name] for s, ends in summary(rows).items()} for name in ENDS}}
    lines = ["| run | " + " | ".join(scores) + " |", "|---" * (1 + len(scores)) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[s]:.1f}" for s in scores) + " |" for name, row in all_rows.items()]
    return "\n".join(lines) + "\n"


def compare(scores: Mapping[str, float], found: Mapping[str, Mapping[str, float]], runs: int) -> str:
    """One line: whether scores are about as good as those that were found, and what to do if not."""
    shown = ", ".join(
        f"{name} {scores[name]:.1f} ({known['worst']:.1f} to {known['best']:.1f})" for name, known in found.items()
    )
    low = [name for name, known in found.items() if scores[name] < known["worst"] - BELOW]
    if not low:
        return f"As expected: {shown}. In brackets: the range of {runs} runs with other seeds and instructions."
    return (
        f"LOWER by more than {BELOW:g} than in any of {runs} runs: {', '.join(low)}. All: {shown}. Train with another "
        "seed (make quickstart SEED=3 QUICKSTART_RUN=runs/quickstart_3); if that is low as well, report both with "
        "their run_info.json files."
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train and score the quick start with several seeds and instructions.")
    parser.add_argument("plan", nargs="?", type=path, default=PLAN, help="YAML file (default: %(default)s)")
    parser.add_argument("--output", type=path, default="runs/spread", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: %(default)s)")
    parser.add_argument("--check", type=path, metavar="DIR", help="compare this evaluation with the scores found")
    args = parser.parse_args(argv)
    if args.check:
        return run_main(lambda: _check(read_plan(args.plan), Path(args.check)))
    with stopping_children():
        return run_main(lambda: _run_and_report(read_plan(args.plan), Path(args.output), args.jobs))


def _check(plan: Plan, folder: Path) -> None:
    scores, known = read_scores(folder, plan.scores), OmegaConf.load(FOUND)
    sys.stdout.write(compare(scores, known.scores, known.runs) + "\n")


def _run_and_report(plan: Plan, output: Path, jobs: int) -> None:
    rows = run_all(plan, output, jobs)
    text, found = table(rows), {"runs": len(rows), "scores": summary(rows)}
    write_text(output / TABLE, text)
    write_text(output / SUMMARY, OmegaConf.to_yaml(OmegaConf.create(found)))
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
