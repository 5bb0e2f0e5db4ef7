"""The interface of engines, and what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat import distributed
from timechat.errors import CheckpointError
from timechat.models.checkpoints import trainable_state_dict
from timechat.runners.plan import TrainingPlan

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FP32, MOMENTS = 4, 8  # bytes of a number, and of AdamW's two moments for it


@dataclass(frozen=True)
class ModelSizes:
    """What decides how much memory a model takes.

    Attributes:
        learning: number of trainable parameters.
        frozen: bytes of everything else.
    """

    learning: int
    frozen: int


class Engine(ABC):
    """How the processes of a run train one model.

    An optimizer step is: for each micro-batch, forward and `backward` inside `accumulate`; then `all_finite`; then
    either `clip`, if wanted, and `step`, or `skip`. Gradients are averaged over processes.

    All methods are collective: every process calls them, in the same order.

    Attributes:
        holds_whole_model: whether each process can run the whole model by itself, for example to answer questions.
        device: of this process.
        precision: of the forward pass.
        model: what a training step calls, once prepared.
        optimizer: once prepared; the runner sets the learning rates of its `param_groups`.
    """

    holds_whole_model: ClassVar[bool] = True

    device: torch.device
    precision: str
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @classmethod
    def from_config(cls, run: DictConfig, plan: TrainingPlan, device: torch.device, precision: str) -> Engine:
        """The engine that a `run` section describes. Raises ConfigError: it cannot do this."""
        return cls(device, precision)  # type: ignore[call-arg]  # a subclass takes both

    @classmethod
    @abstractmethod
    def memory(cls, sizes: ModelSizes, processes: int, accumulation: int) -> tuple[float, float, float]:
        """An estimate of the bytes on each process for weights, gradients and the optimizer's state.

        Trainable weights are fp32, whatever the precision of the computation.

        Args:
            sizes: of the model.
            processes: how many share the work.
            accumulation: micro-batches of each process in one optimizer step.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The engine that actually runs, judged by the prepared model: a value of `run.strategy`, or `single`."""

    @abstractmethod
    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Move the model to the device and connect the processes; weights must be loaded before."""

    @abstractmethod
    def accumulate(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of one micro-batch; `last` of its step, after which gradients are exchanged."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add up gradients (scaled, in fp16)."""

    def all_finite(self, loss: Tensor) -> bool:
        """Whether every process's loss and the gradients of this step are finite; called before `clip`.

        An overflow of scaled gradients is finite: the loss scaler skips that step and lowers its scale by itself.
        """
        # Gradients first: with shards this check is collective, whatever this process's loss is.
        bad = not (self._finite_gradients() and torch.isfinite(loss).all())
        return distributed.all_reduce_sum([bad], self.device) == [0.0]

    @abstractmethod
    def _finite_gradients(self) -> bool:
        """Whether the gradients are finite, or the loss scaler's business. Collective."""

    @abstractmethod
    def clip(self, max_norm: float) -> float:
        """Scale gradients down to a total norm of at most `max_norm`; returns the norm before."""

    @abstractmethod
    def step(self) -> None:
        """Update the weights and forget the gradients."""

    @abstractmethod
    def skip(self) -> None:
        """Forget the gradients; weights and optimizer stay as they are."""

    @abstractmethod
    def unwrap(self) -> nn.Module:
        """The model itself; with some engines its parameters are shards."""

    def model_state(self) -> dict[str, Tensor] | None:
        """Trainable parameters and buffers by published name, unsharded on the CPU; None except on the main process."""
        state = {name: self._to_main(tensor) for name, tensor in trainable_state_dict(self.unwrap()).items()}
        if not distributed.is_main_process():
            return None
        return {name: tensor for name, tensor in state.items() if tensor is not None}

    def _to_main(self, tensor: Tensor) -> Tensor | None:
        """A tensor, unsharded on the CPU; None except on the main process."""
        return tensor.detach().cpu() if distributed.is_main_process() else None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and loss scaler (None without one).

        Unsharded tensors, the same on any number of processes; complete only on the main process. Engines that write
        files themselves (`save`) keep it there instead.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the main process's `state_dict`, given to every process. Raises CheckpointError: not usable."""

    # Most engines have nothing to write here.
    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what `state_dict` does not hold into a folder; most engines write nothing."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Continue from what `save` wrote. Raises CheckpointError: it does not fit model or number of processes."""


def optimizer_state(state: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's state in a `state_dict`, without empty groups, which older checkpoints have.

    Raises:
        CheckpointError: DeepSpeed wrote it and stores it elsewhere.
    """
    if state["optimizer"] is None:
        raise CheckpointError(
            "the checkpoint was written by DeepSpeed, whose optimizer state only fits the same run.strategy; keep that "
            "strategy, or take only the weights: name checkpoint.pth in model.ckpt"
        )
    groups = [group for group in state["optimizer"]["param_groups"] if group["params"]]
    return state["optimizer"] | {"param_groups": groups}


def copy_from_file(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer memory of its own after loading a state: `load_state_dict` copies nothing that fits.

    Its tensors would keep a checkpoint's file open until the run ends, and NFS keeps a file that is removed while it is
    open.
    """
    for state in optimizer.state.values():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.device.type == "cpu":
                state[key] = value.clone()


def autocast_forward(model: nn.Module, device: torch.device, precision: str) -> None:
    """Make the model's forward pass compute in `precision`; the weights stay as they are."""
    if precision != "fp32":
        model.forward = torch.autocast(device.type, AUTOCAST[precision])(model.forward)
