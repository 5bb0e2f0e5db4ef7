"""The config of a stage, moved to the folder where a command trains it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from timechat.config import load_config

CHAINED = ("vit_model", "ckpt", "ckpt_2")  # of `model`: they may name checkpoints of earlier stages


def load_stage(config: str, output: str | Path, options: Sequence[str] = ()) -> DictConfig:
    """A stage's config as it is trained below `output`. Raises ConfigError."""
    return load_config(config, [*options, *moved(load_config(config, options), Path(output))])


def stage_name(config: str) -> str:
    """The folder that a stage gets below the output. Raises ConfigError."""
    return Path(load_config(config).run.output_dir).name


def moved(cfg: DictConfig, output: Path) -> list[str]:
    """Options that put a stage, and the checkpoints that it starts from, below `output`."""
    written = Path(cfg.run.output_dir)
    options = [f"run.output_dir={output / written.name}"]
    for key in CHAINED:
        path = Path(cfg.model[key])
        if cfg.model[key] and path.is_relative_to(written.parent):
            options.append(f"model.{key}={output / path.relative_to(written.parent)}")
    return options
