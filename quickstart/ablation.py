"""Train and score variants of a model over several seeds, to find out what each of its parts contributes.

    python -m quickstart.ablation quickstart/configs/ablation.yaml --jobs 2

The file names stages (see `quickstart.stages`), variants with the config keys that each changes, seeds, and the
evaluation. What is finished, and still matches the file, is not done again, so the command can be stopped and started.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from quickstart.children import run_child, stopping_children
from quickstart.stage_configs import load_stage, stage_name
from quickstart.stages import checkpoint_name
from timechat.cli.common import path, run_main
from timechat.config import load_config
from timechat.errors import ConfigError, TrainingError
from timechat.evaluation.report import read_record
from timechat.io import file_state, write_json, write_text

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
TABLE, RECORD, PICTURE = "ablation.md", "ablation.json", "ablation.png"
ARGUMENTS = "arguments.txt"  # next to an evaluation's scores: the command line that produced them, and its files
_KEYS = {"stages": list, "shared": int, "variants": dict, "seeds": list, "evaluation": dict, "scores": list}


@dataclass(frozen=True)
class Plan:
    """The content of an ablation file.

    Attributes:
        stages: YAML files of the training, in order.
        shared: how many of them, from the first on, are the same in all variants and trained once per seed.
        variants: name -> config keys that it changes, as `key=value`.
        seeds: one whole training each.
        evaluation: arguments of `evaluate.py` besides checkpoint and output folder; `cfg_path` among them.
        scores: names of the scores for the table, as the evaluation reports them in percent.
    """

    stages: list[str]
    shared: int
    variants: dict[str, list[str]]
    seeds: list[int]
    evaluation: dict[str, str]
    scores: list[str]


def read_plan(path: str | Path) -> Plan:
    """Read and check an ablation file. Raises ConfigError."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    found = {"shared": 0, **(content if isinstance(content, dict) else {})}
    missing, unknown = set(_KEYS) - set(found), set(found) - set(_KEYS)
    if missing or unknown:
        raise ConfigError(f"{path}: keys missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    for key, kind in _KEYS.items():
        if not isinstance(found[key], kind) or (kind is not int and not found[key]):
            kinds = {list: "a list, not empty", dict: "a section, not empty", int: "a whole number"}
            raise ConfigError(f"{path}: {key}={found[key]!r} must be {kinds[kind]}")
    for name, changes in found["variants"].items():
        if not isinstance(changes, list) or not all(isinstance(change, str) and "=" in change for change in changes):
            raise ConfigError(f"{path}: variants.{name}={changes!r} must be a list of key=value, [] for no change")
    plan = Plan(**found)
    if not 0 <= plan.shared < len(plan.stages):
        raise ConfigError(f"{path}: shared={plan.shared} must be 0 or more, and below the {len(plan.stages)} stages")
    if "cfg_path" not in plan.evaluation:
        raise ConfigError(f"{path}: evaluation.cfg_path is missing: name the config to evaluate with")
    folders = [_folder(name, seed) for name in plan.variants for seed in plan.seeds]
    twice = sorted({folder for folder in folders if folders.count(folder) > 1})
    if twice:
        raise ConfigError(f"{path}: two trainings would use the folders {twice}; change a variant's name or a seed")
    return plan


def _folder(variant: str, seed: int) -> str:
    return f"{re.sub(r'[^0-9A-Za-z]+', '_', variant)}_{seed}"


def run_ablation(plan: Plan, output: str | Path, jobs: int = 1) -> dict[str, Any]:
    """Train and score what is not finished.

    Args:
        plan: what to do.
        output: gets one folder for each variant and seed.
        jobs: trainings at a time, one process each.

    Returns:
        variant -> score -> one value in percent per seed.

    Raises:
        ConfigError: no job; a wrong config or key of a variant, all of which are checked before the first training; a
            score that the evaluation does not report.
        TrainingError: a training or an evaluation stopped; the others that were running have ended.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs={jobs}: give 1 or more")
    output = Path(output)
    for changes in plan.variants.values():
        for stage in plan.stages[plan.shared :]:
            load_stage(stage, output, changes)
    load_config(plan.evaluation["cfg_path"])
    work = [(name, seed) for seed in plan.seeds for name in plan.variants]
    with ThreadPoolExecutor(jobs) as pool:  # each thread waits for processes
        list(pool.map(lambda seed: _train_shared(plan, output, seed), plan.seeds if plan.shared else []))
        records = list(pool.map(lambda job: _run_one(plan, output, *job), work))
    values: dict[str, dict[str, list[float]]] = {name: {score: [] for score in plan.scores} for name in plan.variants}
    for (name, _), record in zip(work, records, strict=True):
        for score in plan.scores:
            values[name][score].append(record["percent"][score])
    return values


def _train_shared(plan: Plan, output: Path, seed: int) -> None:
    """Train the stages that all variants begin with. Raises TrainingError."""
    _train(plan.stages[: plan.shared], output / f"shared_{seed}", [f"run.seed={seed}"])


def _run_one(plan: Plan, output: Path, name: str, seed: int) -> dict[str, Any]:
    """Train and evaluate one variant with one seed. Raises ConfigError: a score that its record does not have."""
    folder = output / _folder(name, seed)
    for stage in map(stage_name, plan.stages[: plan.shared]):
        _link(folder / stage, Path("..") / f"shared_{seed}" / stage)
    changes = [f"run.seed={seed}", *plan.variants[name]]
    _train(plan.stages[plan.shared :], folder, changes)
    last = load_stage(plan.stages[-1], folder, changes)
    start, checkpoint = last.model, Path(last.run.output_dir) / checkpoint_name(last)
    encoder = [f"model.vit_model={start.vit_model}"] if start.vit_model else []
    changed = [change for change in plan.variants[name] if change.startswith("model.")]
    evaluated = checkpoint.parent / "eval"  # removed when the stage is trained again
    _evaluate(plan, start.ckpt, checkpoint, evaluated, [*encoder, *changed])
    record = read_record(evaluated)
    unknown = sorted(set(plan.scores) - set(record["percent"]))
    if unknown:
        raise ConfigError(f"scores: {unknown} are not reported; there are {', '.join(record['percent'])}")
    return record


def _train(stages: Sequence[str], folder: Path, options: Sequence[str]) -> None:
    """Train what is not finished. Raises TrainingError."""
    command = [sys.executable, "-m", "quickstart.stages", *stages, "--output", str(folder), "--options", *options]
    status = run_child(command, stdout=subprocess.DEVNULL)
    if status:
        raise TrainingError(f"{folder}: its training stopped with status {status}, see above")


def _link(place: Path, target: Path) -> None:
    """Link a shared stage into a variant's folder, replacing one that an earlier plan with fewer shared ones left."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and Path(os.readlink(place)) == target:
        return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _evaluate(plan: Plan, begun: str, checkpoint: Path, output: Path, changes: Sequence[str]) -> None:
    """Score a checkpoint, unless the same command has done so already.

    Parts that the last stage did not train are in the checkpoint that it began with; its own is loaded second and wins.
    """
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in plan.evaluation.items()]
    arguments += [f"--ckpt={begun or checkpoint}", f"--output-dir={output}"]
    own = [f"model.ckpt_2={checkpoint}"] if begun else []
    arguments += ["--options", *own, *changes] if own or changes else []
    files = [f"{value}: {file_state(value)}" for key, value in plan.evaluation.items() if key.endswith("_path")]
    text, done = "\n".join([*arguments, *files]), output / ARGUMENTS
    if done.is_file() and done.read_text(encoding="utf-8") == text:
        return
    if output.is_dir():
        shutil.rmtree(output)
    status = run_child([sys.executable, str(ROOT / "evaluate.py"), *arguments], stdout=subprocess.DEVNULL)
    if status:
        raise TrainingError(f"{output}: the evaluation stopped with status {status}, see above")
    write_text(done, text)


def table(values: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Mean ± standard deviation over the seeds, one row per variant, as Markdown."""
    scores = list(next(iter(values.values())))
    lines = ["| variant | " + " | ".join(scores) + " |", "|---" * (1 + len(scores)) + "|"]
    for name, row in values.items():
        lines.append(f"| {name} | " + " | ".join(_mean_and_spread(row[score]) for score in scores) + " |")
    return "\n".join(lines) + "\n"


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def draw_bars(values: Mapping[str, Mapping[str, Sequence[float]]], path: str | Path) -> Path:
    """A group of bars per score, one bar per variant, one dot per seed."""
    scores = list(next(iter(values.values())))
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    width = 0.8 / len(values)
    for number, (name, row) in enumerate(values.items()):
        places = [i + (number - (len(values) - 1) / 2) * width for i in range(len(scores))]
        axis.bar(places, [statistics.fmean(row[score]) for score in scores], width=0.92 * width, label=name)
        for place, score in zip(places, scores, strict=True):
            axis.plot([place] * len(row[score]), row[score], "o", color="black", markersize=3, alpha=0.6)
    axis.set_xticks(range(len(scores)), scores)
    axis.set_ylabel("percent")
    axis.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))  # above: bars may reach the top
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return Path(path)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train and score variants of a model over several seeds.")
    parser.add_argument("plan", type=path, help="YAML file: stages, variants, seeds, evaluation, scores")
    parser.add_argument("--output", type=path, default="runs/ablation", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: %(default)s)")
    args = parser.parse_args(argv)
    with stopping_children():
        return run_main(lambda: _run_and_report(args.plan, Path(args.output), args.jobs))


def _run_and_report(plan: str, output: Path, jobs: int) -> None:
    values = run_ablation(read_plan(plan), output, jobs)
    write_json(output / RECORD, values)
    write_text(output / TABLE, table(values))
    draw_bars(values, output / PICTURE)
    sys.stdout.write(table(values))


if __name__ == "__main__":
    sys.exit(main())
