"""DeepSpeed's ZeRO: each process keeps a shard of gradients and optimizer state (stage 2) and of all weights (stage 3).

DeepSpeed is called directly: accelerate takes the optimizer step inside `backward`, before anyone can check the
gradients. bf16 means torch's autocast over fp32 weights, as in the other engines; DeepSpeed's own would turn every
weight into bf16.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat import distributed
from timechat.errors import CheckpointError, ConfigError
from timechat.models.checkpoints import canonical_name, trainable_state_dict
from timechat.registry import registry
from timechat.runners.engines.base import FP32, MOMENTS, Engine, ModelSizes, autocast_forward
from timechat.runners.engines.deepspeed_settings import merged, user_settings
from timechat.runners.plan import TrainingPlan
from timechat.schema import Section, key


@dataclass
class DeepSpeedConfig(Section):
    """Keys of the `run` section."""

    deepspeed_config: str = key(
        "", 'your DeepSpeed JSON file (offload, communication, ...); "" = none', file=True, may_change=True
    )


TAG = "engine"  # name of the subfolder that DeepSpeed writes to


class DeepSpeedEngine(Engine):
    """Training by ZeRO.

    Args:
        device: of this process.
        precision: fp32 or bf16.
        settings: the user's, from `user_settings`.

    Raises:
        ConfigError: DeepSpeed is not installed, chose another kind of device, refuses the settings, or was asked for
            fp16.
    """

    stage: ClassVar[int]

    model: Any  # DeepSpeed's wrappers of both
    optimizer: Any

    def __init__(self, device: torch.device, precision: str, settings: Mapping[str, Any] | None = None):
        where = f"run.strategy=deepspeed_zero{self.stage}"
        if importlib.util.find_spec("deepspeed") is None:
            raise ConfigError(f"{where} needs DeepSpeed: pip install 'timechat[deepspeed]'")
        if precision == "fp16":
            raise ConfigError(
                f"{where}: run.precision=fp16 would scale losses on each process by itself, and they would drift "
                "apart; choose bf16 or fp32, or run.strategy=ddp or fsdp"
            )
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        from deepspeed.accelerator import get_accelerator

        if get_accelerator().device_name() != device.type:
            raise ConfigError(
                f"{where}: DeepSpeed chose {get_accelerator().device_name()}, run.device={device.type}; start with "
                f"DS_ACCELERATOR={device.type} in the environment"
            )
        distributed.init_process_group(device, alone=True)
        # DeepSpeed requires it, and a single process that torchrun did not start does not have it.
        os.environ.setdefault("LOCAL_RANK", str(distributed.local_rank()))
        self.device, self.precision = device, precision
        self.config = merged(
            {
                # The runner divides batches and averages losses.
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": {"stage": self.stage},
                "zero_allow_untested_optimizer": True,
                "gradient_clipping": 0.0,  # until `clip` sets it; DeepSpeed's default is 1
            },
            settings or {},
        )
        self._offloads = _offloads_optimizer(self.config)

    @classmethod
    def from_config(cls, run: DictConfig, plan: TrainingPlan, device: torch.device, precision: str) -> DeepSpeedEngine:
        """The engine with the user's settings. Raises ConfigError."""
        return cls(device, precision, user_settings(run, plan, precision))

    @property
    def name(self) -> str:
        """`deepspeed_zero2` or `deepspeed_zero3`, as DeepSpeed reports it."""
        return f"deepspeed_zero{self.model.zero_optimization_stage()}"

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Hand model and optimizer over to DeepSpeed; stage 3 shards all parameters, including the frozen ones."""
        import deepspeed

        autocast_forward(model, self.device, self.precision)
        adam = isinstance(optimizer, torch.optim.AdamW)
        if self._offloads and adam and self.config.get("zero_force_ds_cpu_optimizer", True):
            optimizer = _cpu_adam(optimizer)
        self.model, self.optimizer, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=self.config)

    def accumulate(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged in every micro-batch, because each process keeps only its shard of them."""
        self.model.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add up gradients."""
        self.model.backward(loss)

    def _gradients(self) -> list[Tensor]:
        """This process's shard of the averaged gradients."""
        return [shard for group in self.optimizer.averaged_gradients.values() for shard in group or ()]

    def _norm(self) -> Tensor:
        if self._offloads:  # gradients are in main memory already, where their norms were kept
            return torch.nn.utils.get_total_norm([norm.cpu() for norm in self.optimizer.norm_for_param_grads.values()])
        return torch.nn.utils.get_total_norm(self._gradients())

    def clip(self, max_norm: float) -> None:
        """Have the next step scale gradients down to a total norm of at most `max_norm`."""
        self.optimizer.clip_grad = max_norm

    def step(self) -> None:
        """Update the weights and forget the gradients."""
        self.model.step()
        self.optimizer.clip_grad = 0.0

    def skip(self) -> None:
        """Forget the gradients. DeepSpeed does so only in a step whose gradients are not finite."""
        norms = self.optimizer.norm_for_param_grads if self._offloads else {}
        for tensor in (*self._gradients(), *norms.values()):
            tensor.fill_(torch.nan)
        self.step()

    def unwrap(self) -> nn.Module:
        """The model itself; in stage 3 its parameters exist only while it computes."""
        return self.model.module

    def model_state(self) -> dict[str, Tensor] | None:
        """Trainable parameters and buffers by published name; stage 3 gathers one after the other."""
        import deepspeed

        model, main = self.unwrap(), distributed.is_main_process()
        state = {name: self._to_main(tensor) for name, tensor in trainable_state_dict(model).items()}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                with deepspeed.zero.GatheredParameters([parameter]):
                    state[canonical_name(name)] = self._to_main(parameter)
        return {name: tensor for name, tensor in state.items() if tensor is not None} if main else None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: see `save`."""
        return {"optimizer": None, "scaler": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: see `load`."""

    def save(self, folder: Path) -> None:
        """Each process writes its shard of weights and optimizer state, in DeepSpeed's format."""
        self.model.save_checkpoint(str(folder), tag=TAG, save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Each process reads its shard.

        Raises:
            CheckpointError: it is missing, or written by another number of processes or another stage.
        """
        shards = sorted((folder / TAG).glob("*_optim_states.pt"))
        if len(shards) != distributed.world_size():
            raise CheckpointError(
                f"{folder}: holds DeepSpeed's shards of {len(shards)} processes, there are {distributed.world_size()}; "
                f"start {len(shards) or 'as many as wrote it'}, or take only its weights through model.ckpt"
            )
        try:
            self.model.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
        except (OSError, RuntimeError, KeyError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{folder}: {self.name} cannot resume from it ({reason}); was it written by another strategy?"
            ) from error


def _offloads_optimizer(config: dict[str, Any]) -> bool:
    """Whether gradients and optimizer state go to main memory. Raises ConfigError: DeepSpeed refuses the settings."""
    from deepspeed.runtime.config import DeepSpeedConfig as Settings

    try:
        offload = Settings(config).zero_config.offload_optimizer
    except (ValueError, AssertionError, TypeError, KeyError) as error:  # pydantic's and DeepSpeed's own are ValueErrors
        lines = (line.strip() for line in str(error).splitlines() if "For further information" not in line)
        raise ConfigError(f"run.deepspeed_config: DeepSpeed refuses the settings: {', '.join(lines)}") from error
    return offload is not None and offload.device == "cpu"


def _cpu_adam(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same AdamW in DeepSpeed's vectorised CPU code. Raises ConfigError: it cannot be compiled."""
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    try:
        return DeepSpeedCPUAdam([dict(group) for group in optimizer.param_groups])
    except RuntimeError as error:
        raise ConfigError(
            "run.deepspeed_config: offload_optimizer compiles an extension, which failed "
            f"({error.__cause__ or error}); install a C++ compiler and ninja, or let torch compute the steps with "
            '"zero_force_ds_cpu_optimizer": false'
        ) from error


@registry.register_engine("deepspeed_zero2", config=DeepSpeedConfig)
class DeepSpeedZero2Engine(DeepSpeedEngine):
    """Each process keeps a shard of gradients and optimizer state."""

    stage = 2

    @classmethod
    def memory(cls, sizes: ModelSizes, processes: int, accumulation: int) -> tuple[float, float, float]:
        """The optimizer works on a copy of its shard of the weights."""
        shard = sizes.learning / processes
        return sizes.frozen + FP32 * sizes.learning, FP32 * shard, (MOMENTS + FP32) * shard


@registry.register_engine("deepspeed_zero3", config=DeepSpeedConfig)
class DeepSpeedZero3Engine(DeepSpeedEngine):
    """Each process keeps a shard of the weights as well, including the frozen ones."""

    stage = 3
    holds_whole_model = False

    @classmethod
    def memory(cls, sizes: ModelSizes, processes: int, accumulation: int) -> tuple[float, float, float]:
        """A shard of everything."""
        shard = sizes.learning / processes
        return sizes.frozen / processes + FP32 * shard, FP32 * shard, MOMENTS * shard
