"""The interface of engines, and what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat import distributed
from timechat.errors import CheckpointError
from timechat.models.checkpoints import trainable_state_dict
from timechat.runners.engines.host_copies import HostCopies
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


class StepCheck(NamedTuple):
    """What is known of an optimizer step before it is taken.

    Attributes:
        finite: whether every process's loss and the gradients are; the same on all processes. An overflow of scaled
            gradients counts as finite: the loss scaler skips that step and lowers its scale by itself.
        norm: of the gradients, over all shards.
        loss: of this process.
    """

    finite: bool
    norm: float
    loss: float


class Engine(ABC):
    """How the processes of a run train one model.

    An optimizer step is: for each micro-batch, forward and `backward` inside `accumulate`; then `check`; then either
    `clip`, if wanted, and `step`, or `skip`. Gradients are averaged over processes.

    All methods are collective: every process calls them, in the same order.

    Attributes:
        holds_whole_model: whether each process can run the whole model by itself, for example to answer questions.
        shards_gradients: whether each process has only a share of the averaged gradients, and not all of them.
        device: of this process.
        precision: of the forward pass.
        model: what a training step calls, once prepared.
        optimizer: once prepared; the runner sets the learning rates of its `param_groups`.
    """

    holds_whole_model: ClassVar[bool] = True
    shards_gradients: ClassVar[bool] = True

    device: torch.device
    precision: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    _last_norm: Tensor  # over all shards, on the device; set by `check`

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

    def check(self, loss: Tensor) -> StepCheck:
        """Look at the loss of this process and at the gradients, before `clip`.

        All of it is computed on the device, with one sum over the processes, and read at once: each read makes the
        process wait for all that the device still has to do.

        Args:
            loss: a scalar.
        """
        norm = self._norm().to(loss.device, torch.float64)
        overflows = ~torch.isfinite(norm)
        if scaler := self._scaler():
            scale = scaler.scale(torch.ones((), device=loss.device))  # its own, without reading it
            norm = norm / scale
            overflows &= scale <= 1.0  # else the loss scaler sees to that
        bad = ~torch.isfinite(loss) | overflows
        if self.shards_gradients:
            sums = distributed.sum_tensor(torch.stack([bad.double(), norm.square()]))
            bad, norm = sums[0], sums[1].sqrt()
        else:
            bad = distributed.sum_tensor(bad.double())
        bad_ones, total, own = torch.stack([bad, norm, loss.detach().double()]).tolist()
        self._last_norm = norm
        return StepCheck(not bad_ones, total, own)

    @abstractmethod
    def _norm(self) -> Tensor:
        """The norm of this process's gradients as they are, a scalar on any device."""

    def _scaler(self) -> torch.amp.GradScaler | None:
        """What has scaled the loss, if anything has."""
        return None

    @abstractmethod
    def clip(self, max_norm: float) -> None:
        """Scale the gradients that `check` has seen down to a total norm of at most `max_norm`."""

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
        """Trainable parameters and buffers by published name, copied and unsharded on the CPU; None except on the main
        process."""
        state = {name: self._to_main(tensor) for name, tensor in trainable_state_dict(self.unwrap()).items()}
        if not distributed.is_main_process():
            return None
        return {name: tensor for name, tensor in state.items() if tensor is not None}

    def _to_main(self, tensor: Tensor) -> Tensor | None:
        """A copy of a tensor, unsharded on the CPU; None except on the main process."""
        return self._copies.of(tensor) if distributed.is_main_process() else None

    @cached_property
    def _learning(self) -> list[nn.Parameter]:
        """What learns, in the model's order: to walk through all of its modules in each step would take longer."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    @cached_property
    def _copies(self) -> HostCopies:
        return HostCopies()

    def _optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state, unsharded, in memory of its own; complete only on the main process."""
        state = self.optimizer.state_dict()
        whole = {
            index: {key: self._to_main(value) if isinstance(value, Tensor) else value for key, value in values.items()}
            for index, values in state["state"].items()
        }
        return state | {"state": whole}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and loss scaler (None without one).

        Unsharded tensors, the same on any number of processes, copied to the CPU: they are written while training goes
        on. Complete only on the main process. Engines that write files themselves (`save`) keep it there instead.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the main process's `state_dict`, given to every process. Raises CheckpointError: not usable."""

    # Most engines have nothing to write here.
    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what `state_dict` does not hold into a folder; most engines write nothing. Training waits for this."""

    def load(self, folder: Path) -> None:  # noqa: B027
        """Continue from what `save` wrote. Raises CheckpointError: it does not fit model or number of processes."""


def optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state in a `state_dict`, for this optimizer.

    Empty groups, which older checkpoints have, are left out. Which kernels compute the steps is the running optimizer's
    business: they keep the same numbers.

    Raises:
        CheckpointError: DeepSpeed wrote it and stores it elsewhere.
    """
    if state["optimizer"] is None:
        raise CheckpointError(
            "the checkpoint was written by DeepSpeed, whose optimizer state only fits the same run.strategy; keep that "
            "strategy, or take only the weights: name checkpoint.pth in model.ckpt"
        )
    kernels = {key: optimizer.defaults[key] for key in ("fused", "foreach") if key in optimizer.defaults}
    groups = [group | kernels for group in state["optimizer"]["param_groups"] if group["params"]]
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


def scale_down(gradients: list[Tensor], norm: Tensor, max_norm: float) -> None:
    """Multiply gradients, so that their total norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does.

    Args:
        gradients: of this process, on one device.
        norm: of all gradients, over all shards; it is not read on the host.
        max_norm: the limit.
    """
    if gradients:
        factor = torch.clamp(max_norm / (norm.float() + 1e-6), max=1.0)
        torch._foreach_mul_(gradients, factor.to(gradients[0].device))


def autocast_forward(model: nn.Module, device: torch.device, precision: str) -> None:
    """Make the model's forward pass compute in `precision`; the weights stay as they are."""
    if precision != "fp32":
        model.forward = torch.autocast(device.type, AUTOCAST[precision])(model.forward)
