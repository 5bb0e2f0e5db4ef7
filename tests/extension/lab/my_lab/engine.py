"""Data-parallel training with gradients that are clipped one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import nn

from timechat.registry import registry
from timechat.runners.engines import DDPEngine
from timechat.runners.plan import TrainingPlan
from timechat.schema import Section, key


@dataclass
class ClippedConfig(Section):
    """What the engine adds to the section `run`."""

    clip_grad_value: float | None = key(None, "largest entry of a gradient; null = no limit", least=0)


@registry.register_engine("my_engine", config=ClippedConfig)
class ClippedEngine(DDPEngine):
    """DDP, with one more thing before each step."""

    clip_grad_value: float | None = None

    @classmethod
    def from_config(cls, run: DictConfig, plan: TrainingPlan, device: torch.device, precision: str) -> ClippedEngine:
        """The engine that a `run` section describes."""
        engine = super().from_config(run, plan, device, precision)
        engine.clip_grad_value = run.clip_grad_value
        return engine

    def step(self) -> None:
        """Clip, update the weights and forget the gradients."""
        if self.clip_grad_value is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), self.clip_grad_value)
        super().step()
