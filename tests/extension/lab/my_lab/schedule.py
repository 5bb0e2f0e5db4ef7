"""A learning rate that falls in a straight line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from omegaconf import DictConfig

from timechat.registry import registry
from timechat.runners.schedules import LRConfig, LRSchedule
from timechat.schema import key


@dataclass
class LinearConfig(LRConfig):
    """The keys of every schedule, and one more."""

    final_share: float = key(0.0, "share of init_lr that is left at the end", least=0, most=1)


@registry.register_lr_scheduler("my_schedule", config=LinearConfig)
@dataclass(frozen=True)
class LinearLR(LRSchedule):
    """From init_lr at step 0 to `final_share` of it when the run ends."""

    final_share: float = 0.0

    @classmethod
    def from_config(cls, run: DictConfig, iters_per_epoch: int) -> LinearLR:
        """The schedule that a `run` section describes."""
        return replace(super().from_config(run, iters_per_epoch), final_share=run.final_share)

    def __call__(self, step: int) -> float:
        """The learning rate at a step, counted from 0."""
        progress = step / (self.max_epoch * self.iters_per_epoch)
        return self.init_lr * (1 - progress * (1 - self.final_share))
