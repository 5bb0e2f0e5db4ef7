"""An estimate of the memory that training takes on each GPU, before anything is loaded.

Weights, gradients and optimizer states are counted as the engine keeps them. Activations are what autograd keeps of one
forward pass, found by a pass over fake tensors, which have shapes but no data. Temporary buffers and the allocator's
reserve are not included.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from timechat.models.base import BaseModel, StepSize
from timechat.runners.engines.base import AUTOCAST, Engine, ModelSizes


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate_memory(
    model: nn.Module, engine: type[Engine], processes: int, accumulation: int, activations: float
) -> MemoryEstimate:
    """The memory of one process.

    Args:
        model: on any device, also the meta device.
        engine: knows what each process keeps.
        processes: how many share the work.
        accumulation: micro-batches of each process in one optimizer step.
        activations: bytes, see `activation_bytes`.
    """
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    return MemoryEstimate(*engine.memory(ModelSizes(learning, frozen), processes, accumulation), activations)


def activation_bytes(model: BaseModel, size: StepSize, precision: str) -> float | None:
    """Bytes that autograd keeps of a forward pass; None for models without a `rehearse`.

    Args:
        model: on the meta device; its tensors are replaced by fake ones.
        size: of a micro-batch.
        precision: fp32, bf16 or fp16.
    """
    half = AUTOCAST.get(precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to_empty(device="cpu").train()
        with torch.autocast("cpu", dtype=half) if half else nullcontext():
            return _kept(model, lambda: model.rehearse(size))


def _kept(model: nn.Module, forward: Callable[[], Tensor | None]) -> float | None:
    """Bytes of the storages that autograd keeps, without the model's own."""
    kept: dict[int, Tensor] = {}  # holds the tensors, so that no address is reused

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    if result is None:
        return None
    own = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), result]}
    return float(sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own))
