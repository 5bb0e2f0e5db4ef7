"""How several processes train one model: the runner sees one interface and nothing of what lies under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from timechat.errors import ConfigError
from timechat.runners.engines.base import Engine, resolve_device, resolve_precision
from timechat.runners.engines.ddp import DDPEngine
from timechat.runners.engines.deepspeed import DeepSpeedEngine
from timechat.runners.engines.deepspeed_settings import user_settings
from timechat.runners.engines.fsdp import FSDPEngine

__all__ = [
    "STRATEGIES",
    "DDPEngine",
    "DeepSpeedEngine",
    "Engine",
    "FSDPEngine",
    "build_engine",
    "resolve_device",
    "resolve_precision",
    "user_settings",
]

STRATEGIES = ("ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3")


def build_engine(
    strategy: str, device: torch.device, precision: str, deepspeed_settings: Mapping[str, Any] | None = None
) -> Engine:
    """The engine that `run.strategy` names.

    Args:
        strategy: one of STRATEGIES.
        device: of this process, from `resolve_device`.
        precision: from `resolve_precision`.
        deepspeed_settings: from `user_settings`; only DeepSpeed's engines look at them.

    Raises:
        ConfigError: no such strategy, or one that cannot do this.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"run.strategy={strategy}: choose one of {', '.join(STRATEGIES)}")
    if strategy == "fsdp":
        return FSDPEngine(device, precision)
    if strategy.startswith("deepspeed_zero"):
        return DeepSpeedEngine(int(strategy[-1]), device, precision, deepspeed_settings)
    return DDPEngine(device, precision)
