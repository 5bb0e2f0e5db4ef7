"""Where a run resumes: from its newest checkpoint, from a named one, or at the beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat import distributed
from timechat.config import free_keys, is_no_op, plain
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
    """

    path: Path
    source: str
    content: dict[str, Any]

    @property
    def progress(self) -> dict[str, Any] | None:
        """The position and the counters of the run that wrote it; the published code's files have none."""
        return self.content.get("progress")

    @property
    def global_batch(self) -> int | None:
        """Samples of an optimizer step; None if the file does not say."""
        return self.progress["global_batch"] if self.progress else None

    def steps_done(self, plan: TrainingPlan, sizes: list[int]) -> int:
        """Optimizer steps finished when the checkpoint was written, over all epochs.

        Args:
            plan: of the run that is resumed.
            sizes: samples of its datasets.

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
    if run.resume_ckpt_path:
        return _named(run.resume_ckpt_path, "run.resume_ckpt_path", cfg)
    if run.resume not in ("auto", "never"):
        return _named(run.resume, "run.resume", cfg)
    folder = distributed.on_main_process(checkpoints.newest) if run.resume == "auto" else None
    if folder is None:
        _must_be_unused(checkpoints)
        return None
    point = ResumePoint(folder / FILE, f"run.resume=auto ({folder})", read_file(folder / FILE, "run.resume"))
    different = list(_differences(point.content["config"], cfg))
    if different:
        raise ConfigError(
            f"{folder} was written with other settings:\n  " + "\n  ".join(different) + f"\nGive another "
            f"run.output_dir, restore the settings, or accept the new ones with run.resume={folder}"
        )
    return point


def _named(path: str, key: str, cfg: DictConfig) -> ResumePoint:
    """A checkpoint that the config names: a folder or a .pth file."""
    file = Path(path)
    if file.is_dir():
        distributed.on_main_process(lambda: verify(Path(path)))
        file = file / FILE
    point = ResumePoint(file, f"{key}={path}", read_file(file, key))
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
