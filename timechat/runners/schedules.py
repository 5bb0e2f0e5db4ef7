"""The learning rate: two warm-up schedules, pure functions of the iteration (published recipe: warm-up + cosine).

Iterations are counted as in the published configs: micro-batches of one process, from the beginning of the run.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.schema import Section, key


@dataclass
class LRConfig(Section):
    """Keys of the `run` section, in the published units: micro-batches of one process."""

    init_lr: float = key(3.0e-5, "learning rate after the warm-up", least=0)
    min_lr: float = key(1.0e-5, "never below, after the warm-up", least=0)
    warmup_lr: float = key(1.0e-6, "where the warm-up begins; a negative number means init_lr")
    warmup_steps: int = key(0, "length of the warm-up", least=0)
    lr_decay_rate: float | None = key(None, "only for linear_warmup_step_lr: factor after each epoch", least=0)


@dataclass(frozen=True)
class LRSchedule(ABC):
    """What all schedules share; a subclass says in `__call__` what the learning rate is.

    Attributes:
        max_epoch, iters_per_epoch: length of the run.
        init_lr: after the warm-up.
        min_lr: never below, after the warm-up.
        warmup_start_lr: at iteration 0; a negative number means init_lr.
        warmup_steps: iterations of the warm-up; 0 for none.
        decay_rate: factor after each epoch (only for `linear_warmup_step_lr`).
    """

    max_epoch: int
    iters_per_epoch: int
    init_lr: float
    min_lr: float = 0.0
    warmup_start_lr: float = -1.0
    warmup_steps: int = 0
    decay_rate: float | None = None

    @classmethod
    def from_config(cls, run: DictConfig, iters_per_epoch: int) -> LRSchedule:
        """The schedule that a `run` section describes, for epochs of so many iterations. Raises ConfigError."""
        return cls(
            max_epoch=run.max_epoch,
            iters_per_epoch=iters_per_epoch,
            init_lr=run.init_lr,
            min_lr=run.min_lr,
            warmup_start_lr=run.warmup_lr,
            warmup_steps=run.warmup_steps,
            decay_rate=run.lr_decay_rate,
        )

    @abstractmethod
    def __call__(self, iteration: int) -> float:
        """The learning rate at an iteration, counted from 0."""

    def _warmup(self, iteration: int) -> float:
        start = self.warmup_start_lr if self.warmup_start_lr >= 0 else self.init_lr
        return min(self.init_lr, start + (self.init_lr - start) * iteration / max(self.warmup_steps, 1))


@registry.register_lr_scheduler("linear_warmup_cosine_lr", config=LRConfig)
class LinearWarmupCosineLR(LRSchedule):
    """A linear warm-up, then the half cosine that began at iteration 0 and ends with the run."""

    def __call__(self, iteration: int) -> float:
        """The learning rate at an iteration, counted from 0."""
        if iteration < self.warmup_steps:
            return self._warmup(iteration)
        progress = iteration / (self.max_epoch * self.iters_per_epoch)
        return self.min_lr + (self.init_lr - self.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


@registry.register_lr_scheduler("linear_warmup_step_lr", config=LRConfig)
@dataclass(frozen=True)
class LinearWarmupStepLR(LRSchedule):
    """A linear warm-up within the first epoch, then a factor after each epoch."""

    def __post_init__(self) -> None:
        self._factor()

    def _factor(self) -> float:
        if self.decay_rate is None:
            raise ConfigError("run.lr_decay_rate is null: linear_warmup_step_lr needs a factor such as 0.5")
        return self.decay_rate

    def __call__(self, iteration: int) -> float:
        """The learning rate at an iteration, counted from 0."""
        epoch = iteration // self.iters_per_epoch
        if epoch == 0:
            return self._warmup(iteration) if self.warmup_steps else self.init_lr
        return max(self.min_lr, self.init_lr * self._factor() ** epoch)


def build_lr_schedule(name: str, **settings: Any) -> LRSchedule:
    """The schedule registered under `name`: call it with an iteration to get the learning rate.

    Args:
        name: `linear_warmup_cosine_lr` or `linear_warmup_step_lr`.
        settings: the attributes of LRSchedule.

    Raises:
        RegistryError: an unknown name. ConfigError: settings that do not make a schedule.
    """
    return registry.get_lr_scheduler_class(name)(**settings)
