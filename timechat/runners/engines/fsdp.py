"""Trainable parameters are sharded over the processes: torch's fully sharded data parallelism (FSDP2).

Each process keeps a shard of every trainable parameter, of its gradient and of its optimizer state; a block's
parameters are gathered while it computes. Frozen parameters stay unsharded on every process: they have no gradient and
no optimizer state to save memory on, and would have to be gathered in every pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from timechat import distributed
from timechat.registry import registry
from timechat.runners.engines.base import (
    FP32,
    MOMENTS,
    Engine,
    ModelSizes,
    autocast_forward,
    copy_from_file,
    optimizer_state,
    scale_down,
)


@registry.register_engine("fsdp")
class FSDPEngine(Engine):
    """Training on shards; state dicts hold unsharded tensors.

    Args:
        device: of this process.
        precision: fp32, bf16 or fp16 (with loss scaling). Shards are fp32, as with DDP.
    """

    holds_whole_model = False

    def __init__(self, device: torch.device, precision: str):
        distributed.init_process_group(device, alone=True)
        self.device, self.precision = device, precision
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    @classmethod
    def memory(cls, sizes: ModelSizes, processes: int, accumulation: int) -> tuple[float, float, float]:
        """Frozen parameters are not sharded; accumulated gradients are not either until they are exchanged."""
        shard = sizes.learning / processes
        gradients = FP32 * (shard if accumulation == 1 else sizes.learning)
        return sizes.frozen + FP32 * shard, gradients, MOMENTS * shard

    @property
    def name(self) -> str:
        """`fsdp`, once every trainable parameter is sharded."""
        learns = [p for p in self.model.parameters() if p.requires_grad]
        sharded = isinstance(self.model, FSDPModule) and all(isinstance(p, DTensor) for p in learns)
        return "fsdp" if sharded else "single"

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Move the model to the device, shard what is trainable, block by block, and give the optimizer the shards."""
        model.to(self.device)
        learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
        frozen = {p for p in model.parameters() if not p.requires_grad}
        mesh = init_device_mesh(self.device.type, (dist.get_world_size(),))
        for module in [*_blocks(model), model]:
            fully_shard(module, mesh=mesh, ignored_params=frozen)
        autocast_forward(model, self.device, self.precision)
        shards = dict(model.named_parameters())
        shard_of = {p: shards[name] for name, p in learns.items()}
        for group in optimizer.param_groups:
            group["params"] = [shard_of[p] for p in group["params"]]
        self.model, self.optimizer = model, optimizer

    def accumulate(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged only in the last micro-batch of an optimizer step; until then they are unsharded."""
        cast(FSDPModule, self.model).set_requires_gradient_sync(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add up gradients (scaled, in fp16)."""
        self.scaler.scale(loss).backward()

    def _gradients(self) -> list[Tensor]:
        """This process's shards."""
        return [cast(DTensor, p.grad).to_local() for p in self._learning if p.grad is not None]

    def _norm(self) -> Tensor:
        return torch.nn.utils.get_total_norm(self._gradients())

    def _scaler(self) -> torch.amp.GradScaler | None:
        return self.scaler if self.scaler.is_enabled() else None

    def clip(self, max_norm: float) -> None:
        """Scale gradients down to a total norm, over all shards, of at most `max_norm`."""
        self.scaler.unscale_(self.optimizer)
        scale_down(self._gradients(), self._last_norm, max_norm)

    def step(self) -> None:
        """Update the weights and forget the gradients."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def skip(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def unwrap(self) -> nn.Module:
        """The model itself; its trainable parameters are shards."""
        return self.model

    def _to_main(self, tensor: Tensor) -> Tensor | None:
        return super()._to_main(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and loss scaler (None without one), unsharded."""
        return {"optimizer": self._optimizer_state(), "scaler": self.scaler.state_dict() or None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, also one of DDP or of another number of processes."""
        optimizer = optimizer_state(state, self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        shards = {
            index: {key: _shard_like(value, parameters[index]) for key, value in values.items()}
            for index, values in optimizer["state"].items()
        }
        self.optimizer.load_state_dict(optimizer | {"state": shards})
        copy_from_file(self.optimizer)
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of every stack that have trainable parameters: each is gathered while it computes."""
    for stack in model.modules():
        if isinstance(stack, nn.ModuleList | nn.Sequential):
            yield from (layer for layer in stack if any(p.requires_grad for p in layer.parameters()))


def _shard_like(value: Tensor, parameter: DTensor) -> Tensor:
    """This process's shard of a parameter's state; counters are not sharded."""
    if value.shape != parameter.shape:
        return value
    # Every process has read the same file: nothing needs to be sent.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
