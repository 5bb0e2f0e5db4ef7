"""The same model on every process, gradients averaged: DistributedDataParallel, through accelerate."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import accelerate
import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from timechat import distributed
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.runners.engines.base import (
    FP32,
    MOMENTS,
    Engine,
    ModelSizes,
    copy_from_file,
    optimizer_state,
    scale_down,
)

logger = logging.getLogger(__name__)


@registry.register_engine("ddp")
class DDPEngine(Engine):
    """Data-parallel training; on one process, plain training.

    Args:
        device: of this process.
        precision: fp32, bf16 or fp16 (with loss scaling).
    """

    shards_gradients = False

    def __init__(self, device: torch.device, precision: str):
        _forget_launch_settings()
        self.accelerator = accelerate.Accelerator(
            cpu=device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision
        )
        self._check_processes()
        self.device, self.precision = self.accelerator.device, precision

    @classmethod
    def memory(cls, sizes: ModelSizes, processes: int, accumulation: int) -> tuple[float, float, float]:
        """Everything on each process; gradients twice, because the buckets that are sent hold them, too."""
        learning = sizes.learning
        return sizes.frozen + FP32 * learning, FP32 * learning * (2 if processes > 1 else 1), MOMENTS * learning

    def _check_processes(self) -> None:
        """accelerate silently falls back to a single process; processes that are not connected would each train a
        separate model."""
        alone = self.accelerator.distributed_type == DistributedType.NO
        if self.accelerator.num_processes != distributed.world_size() or (alone and distributed.world_size() > 1):
            raise ConfigError(
                f"torchrun started {distributed.world_size()} processes, but accelerate sees "
                f"{self.accelerator.num_processes} ({self.accelerator.distributed_type})"
            )

    @property
    def name(self) -> str:
        """`ddp`, or `single` on one process."""
        return "ddp" if isinstance(self.model, DistributedDataParallel) else "single"

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Move the model to the device and connect the processes."""
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    def accumulate(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged only in the last micro-batch of an optimizer step."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def backward(self, loss: Tensor) -> None:
        """Add up gradients (scaled, in fp16)."""
        self.accelerator.backward(loss)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._learning if p.grad is not None]

    def _norm(self) -> Tensor:
        return torch.nn.utils.get_total_norm(self._gradients())

    def _scaler(self) -> torch.amp.GradScaler | None:
        return self.accelerator.scaler

    def clip(self, max_norm: float) -> None:
        """Scale gradients down to a total norm of at most `max_norm`."""
        self.accelerator.unscale_gradients()
        scale_down(self._gradients(), self._last_norm, max_norm)

    def step(self) -> None:
        """Update the weights and forget the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def skip(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def unwrap(self) -> nn.Module:
        """The model itself."""
        return self.accelerator.unwrap_model(self.model)

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and loss scaler (None without one), copied to the CPU of the main process."""
        scaler = self.accelerator.scaler
        return {"optimizer": self._optimizer_state(), "scaler": scaler.state_dict() if scaler else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.optimizer.load_state_dict(optimizer_state(state, self.optimizer))
        copy_from_file(self.optimizer)
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])


def _forget_launch_settings() -> None:
    """Remove what `accelerate launch` or a shell's profile sets for accelerate: the config alone says what is computed.

    ACCELERATE_GRADIENT_ACCUMULATION_STEPS would divide every loss again; others choose a device, compile the model, or
    hand it to FSDP, DeepSpeed or Megatron. accelerate looks at some of them again while it trains.
    """
    names = sorted(name for name in os.environ if name.startswith("ACCELERATE_"))
    for name in names:
        del os.environ[name]
    if names:
        logger.warning("the config decides, not the environment; ignored: %s", ", ".join(names))
