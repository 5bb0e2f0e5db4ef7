"""How several processes train one model: the runner sees one interface and nothing of what lies under it."""

from __future__ import annotations

import torch

from timechat.errors import ConfigError
from timechat.runners.engines.base import Engine, resolve_device, resolve_precision
from timechat.runners.engines.ddp import DDPEngine

__all__ = ["STRATEGIES", "DDPEngine", "Engine", "build_engine", "resolve_device", "resolve_precision"]

STRATEGIES = ("ddp",)


def build_engine(strategy: str, device: torch.device, precision: str) -> Engine:
    """The engine that `run.strategy` names.

    Args:
        strategy: one of STRATEGIES.
        device: of this process, from `resolve_device`.
        precision: from `resolve_precision`.

    Raises:
        ConfigError: no such strategy, or one that cannot do this.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"run.strategy={strategy}: choose one of {', '.join(STRATEGIES)}")
    return DDPEngine(device, precision)
