"""Where a run resumes: from its newest checkpoint, from a named one, or at the beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from timechat import distributed
from timechat.composition import free_keys, schema_for
from timechat.config import file_keys, is_no_op, plain
from timechat.errors import CheckpointError, ConfigError
from timechat.models.weight_files import read_file
from timechat.runners.checkpointing import FILE, Checkpoints, verify
from timechat.runners.plan import TrainingPlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint to resume from.

    Attributes:
        path: its .pth file.
        source: the setting that names it, for messages.
        content: of the file; the data of its tensors is read when it is used.
        named: the config names it, whichever run wrote it; otherwise it is the run's own.
    """

    path: Path
    source: str
    content: dict[str, Any]
    named: bool = False

    @property
    def progress(self) -> dict[str, Any] | None:
        """The position and the counters of the run that wrote it; the published code's files have none."""
        return self.content.get("progress")

    @property
    def global_batch(self) -> int | None:
        """Samples of an optimizer step; None if the file does not say."""
        return self.progress["global_batch"] if self.progress else None

    def leave_out_misshapen(self, shapes: Sequence[torch.Size]) -> None:
        """Forget the optimizer's state of weights that were resized while they were loaded: it starts anew.

        Args:
            shapes: of the parameters that learn, in the optimizer's order.
        """
        state = (self.content["optimizer"] or {}).get("state", {})
        changed = [
            index
            for index, values in state.items()
            if any(tensor.ndim and tensor.shape != shapes[index] for tensor in values.values())
        ]
        for index in changed:
            del state[index]
        if changed:
            names = ", ".join(self.content["optimized"][index] for index in changed)
            logger.warning("%s: has another shape of %s, whose optimizer state starts anew", self.source, names)

    def steps_done(self, plan: TrainingPlan, sizes: list[int]) -> int:
        """Optimizer steps finished when the checkpoint was written, over all epochs.

        Args:
            plan: of the run that is resumed.
            sizes: samples of its datasets, with those that are left out.

        Raises:
            CheckpointError: the file does not say. ConfigError: this run has no such position.
        """
        if not self.progress:
            if not isinstance(self.content.get("epoch"), int):
                raise CheckpointError(
                    f"{self.source}: has no epoch; to start only from its weights, name it in model.ckpt"
                )
            return (self.content["epoch"] + 1) * plan.steps_per_epoch
        epoch, step = self.progress["epoch"], self.progress["step"]
        if step and self.progress["sizes"] != sizes:
            raise ConfigError(
                f"{self.source}: stopped within an epoch of datasets with {self.progress['sizes']} samples, which have "
                f"{sizes} now: restore the annotation files, or resume from the checkpoint of a whole epoch"
            )
        if step >= plan.steps_per_epoch:
            raise ConfigError(
                f"{self.source}: stopped after {step} steps of an epoch, which has {plan.steps_per_epoch} now: "
                "restore run.iters_per_epoch, or resume from the checkpoint of a whole epoch"
            )
        return epoch * plan.steps_per_epoch + step


def find_resume_point(cfg: DictConfig, checkpoints: Checkpoints) -> ResumePoint | None:
    """The checkpoint that `run.resume` and `run.resume_ckpt_path` ask for; None: begin anew. Collective.

    Raises:
        ConfigError: the folder belongs to another run. CheckpointError: the checkpoint is damaged or missing.
    """
    run = cfg.run
    if path := _named_path(run):
        key = "run.resume_ckpt_path" if run.resume_ckpt_path else "run.resume"
        return _continued(path, key, cfg, checkpoints) or _named(path, key, cfg)
    folder = distributed.on_main_process(checkpoints.newest) if run.resume == "auto" else None
    if folder is None:
        _must_be_unused(checkpoints)
        return None
    point = ResumePoint(folder / FILE, f"run.resume=auto ({folder})", read_file(folder / FILE, "run.resume"))
    for line in _moved(point.content["config"], cfg):
        logger.warning("%s: %s; it is taken for the same at another place", point.source, line)
    different = list(_differences(point.content["config"], cfg))
    if different:
        raise ConfigError(
            f"{folder} was written with other settings:\n  " + "\n  ".join(different) + f"\nGive another "
            f"run.output_dir, restore the settings, or accept the new ones with run.resume={folder}"
        )
    return point


def _named_path(run: Mapping[str, Any]) -> str | None:
    """The checkpoint that a `run` section names."""
    path = run.get("resume_ckpt_path") or run.get("resume")
    return None if path in ("auto", "never") else path


def _continued(path: str, key: str, cfg: DictConfig, checkpoints: Checkpoints) -> ResumePoint | None:
    """The newest checkpoint in the run's folder, if the same command wrote it: it began with the checkpoint that it
    names, was stopped, and goes on from its own."""

    def own() -> Path | None:
        try:
            return checkpoints.newest()
        except CheckpointError:
            return None  # the named one is still there

    folder = distributed.on_main_process(own)
    if folder is None:
        return None
    content = read_file(folder / FILE, key)
    config = content.get("config") or {}
    if _named_path(config.get("run") or {}) != path or any(_differences(config, cfg)):
        return None
    return ResumePoint(folder / FILE, f"{folder} (continues {key}={path})", content)


def _named(path: str, key: str, cfg: DictConfig) -> ResumePoint:
    """A checkpoint that the config names: a folder or a .pth file."""
    file = Path(path)
    if file.is_dir():
        distributed.on_main_process(lambda: verify(Path(path)))
        file = file / FILE
    point = ResumePoint(file, f"{key}={path}", read_file(file, key), named=True)
    for difference in _differences(point.content.get("config") or {}, cfg):
        logger.warning("%s: was written with a different setting, %s", point.source, difference)
    return point


def _must_be_unused(checkpoints: Checkpoints) -> None:
    """Two runs in one folder would overwrite some of each other's checkpoints and keep others."""
    numbers, epochs, damaged = checkpoints.numbers(), checkpoints.epoch_files(), checkpoints.damaged()
    if numbers:
        found, fix = checkpoints.folder_of(numbers[-1]).name, "resume with run.resume=auto"
    elif epochs:
        found, fix = epochs[-1], f"resume with run.resume_ckpt_path={checkpoints.output_dir / epochs[-1]}"
    elif damaged:
        found, fix = damaged[-1].name, f"remove {checkpoints.folder} to begin anew"
    else:
        return
    raise ConfigError(
        f"run.output_dir={checkpoints.output_dir} holds {found} of an earlier run: give another folder, or {fix}"
    )


def _differences(saved: dict[str, Any], cfg: DictConfig) -> Iterator[str]:
    """Keys that affect what is learned and have another value now, one line each."""
    free = free_keys(cfg)
    before, now = _decisive(saved, free), _decisive(plain(cfg), free)
    for key in sorted(before.keys() | now.keys()):
        if key not in before or key not in now or before[key] != now[key]:
            yield f"{key}: {before.get(key, 'absent')} then, {now.get(key, 'absent')} now"


def _moved(saved: dict[str, Any], cfg: DictConfig) -> Iterator[str]:
    """Files that the model is built from, which may lie elsewhere than before, one line each."""
    before, now = saved.get("model") or {}, plain(cfg)["model"]
    for key in file_keys(schema_for(cfg).section("model")):
        if before.get(key, now[key]) != now[key]:
            yield f"model.{key}: {before[key] or 'none'} then, {now[key] or 'none'} now"


def _decisive(config: dict[str, Any], free: set[str]) -> dict[str, Any]:
    leaves = {
        key: value for name in ("model", "datasets", "run") for key, value in _leaves(config.get(name) or {}, name)
    }
    return {key: value for key, value in leaves.items() if key not in free and not is_no_op(key)}


def _leaves(section: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value
