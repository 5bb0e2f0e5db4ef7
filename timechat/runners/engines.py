"""How several processes train one model: the runner sees this interface and nothing of what lies under it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import accelerate
import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn

from timechat import distributed
from timechat.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cuda` or `cpu` -> this process's device. Raises ConfigError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cuda", "cpu"):
        raise ConfigError(f"run.device={name}: choose auto, cuda or cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("run.device=cuda: no CUDA GPU is visible to torch; set run.device=cpu (or auto)")
    if distributed.local_rank() >= torch.cuda.device_count():
        raise ConfigError(
            f"process {distributed.local_rank()} of this machine has no GPU: there are {torch.cuda.device_count()}; "
            "start as many processes as GPUs (torchrun --nproc_per_node)"
        )
    return torch.device("cuda", distributed.local_rank())


def resolve_precision(precision: str | None, amp: bool, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; without a precision, the published `amp: true` means bf16, or fp16 on GPUs without it.

    Raises:
        ConfigError: fp16 on a CPU, which has no loss scaling for it.
    """
    if precision is None:
        # Older GPUs emulate bf16, slowly.
        no_bf16 = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        precision = ("fp16" if no_bf16 else "bf16") if amp else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("run.precision=fp16 needs a GPU; on a CPU choose fp32 or bf16")
    return precision


class DDPEngine:
    """Data-parallel training through accelerate: the same model on every process, gradients averaged.

    Args:
        device: of this process.
        precision: fp32, bf16 or fp16 (with loss scaling).
        find_unused_parameters: some batches leave trainable parameters out.
    """

    def __init__(self, device: torch.device, precision: str, find_unused_parameters: bool = False):
        self.accelerator = accelerate.Accelerator(
            cpu=device.type == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[accelerate.DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)],
        )
        self._check_processes()
        self.device = self.accelerator.device

    def _check_processes(self) -> None:
        """accelerate falls back to single training in silence; several processes that do not know each other would
        each train a model of their own."""
        alone = self.accelerator.distributed_type == DistributedType.NO
        if self.accelerator.num_processes != distributed.world_size() or (alone and distributed.world_size() > 1):
            raise ConfigError(
                f"torchrun started {distributed.world_size()} processes, but accelerate sees "
                f"{self.accelerator.num_processes} ({self.accelerator.distributed_type})"
            )

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Move the model to the device and tie the processes together."""
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    def accumulate(self, last: bool) -> AbstractContextManager:
        """Around forward and backward of one micro-batch: gradients are exchanged in the last one of an update only."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def backward(self, loss: Tensor) -> None:
        """Add up gradients (scaled, in fp16)."""
        self.accelerator.backward(loss)

    def clip(self, max_norm: float) -> float:
        """Scale gradients down to a total norm of at most `max_norm`; returns the norm before."""
        return float(self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm))

    def step(self) -> None:
        """Update the weights and forget the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def unwrap(self) -> nn.Module:
        """The model itself."""
        return self.accelerator.unwrap_model(self.model)

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and loss scaler (None without one)."""
        scaler = self.accelerator.scaler
        return {"optimizer": self.optimizer.state_dict(), "scaler": scaler.state_dict() if scaler else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
