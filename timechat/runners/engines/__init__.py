"""How several processes train one model: the runner sees one interface, whatever is behind it."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from timechat.registry import registry
from timechat.runners.engines.base import Engine, ModelSizes, StepCheck
from timechat.runners.engines.ddp import DDPEngine
from timechat.runners.engines.deepspeed import DeepSpeedZero2Engine, DeepSpeedZero3Engine
from timechat.runners.engines.fsdp import FSDPEngine
from timechat.runners.plan import TrainingPlan

__all__ = [
    "DDPEngine",
    "DeepSpeedZero2Engine",
    "DeepSpeedZero3Engine",
    "Engine",
    "FSDPEngine",
    "ModelSizes",
    "StepCheck",
    "build_engine",
]


def build_engine(run: DictConfig, plan: TrainingPlan, device: torch.device, precision: str) -> Engine:
    """The engine that `run.strategy` names.

    Args:
        run: the config's `run` section.
        plan: of the run.
        device: of this process, from `resolve_device`.
        precision: from `resolve_precision`.

    Raises:
        RegistryError: no such engine. ConfigError: it cannot do this.
    """
    return registry.get_engine_class(run.strategy).from_config(run, plan, device, precision)
