"""The device and the precision that a process computes with."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from timechat import distributed
from timechat.errors import ConfigError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto` (a GPU if there is one), `cuda` or `cpu` -> this process's device. Raises ConfigError."""
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
    """The precision of training: `fp32`, `bf16` or `fp16`.

    Without a precision, the published `amp: true` means bf16, or fp16 on GPUs without it.

    Raises:
        ConfigError: no such precision, or fp16 on a CPU, which has no loss scaling for it.
    """
    if precision is None:
        precision = ("bf16" if device.type != "cuda" or _has_bf16() else "fp16") if amp else "fp32"
    if precision not in PRECISIONS:
        raise ConfigError(f"run.precision={precision}: choose one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("run.precision=fp16 needs a GPU; on a CPU choose fp32 or bf16")
    return precision


def resolve_dtype(name: str) -> torch.dtype:
    """The dtype of weights: `fp32`, `fp16`, `bf16`, or `auto`: bf16, but fp16 on a GPU without it.

    Raises:
        ConfigError: another name.
    """
    if name == "auto":
        return torch.bfloat16 if not torch.cuda.is_available() or _has_bf16() else torch.float16
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r}: choose one of auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def precision_name(dtype: torch.dtype) -> str:
    """What `resolve_dtype` makes a dtype of. Raises ConfigError: weights are never kept in it."""
    for name, known in PRECISIONS.items():
        if known == dtype:
            return name
    raise ConfigError(f"weights in {dtype} cannot be saved: convert the model to one of {', '.join(PRECISIONS)}")


def in_16_bits(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to a dtype of 16 bits on a GPU, whose fp32 is many times slower; on a CPU, or in fp32, nothing."""
    on_gpu = device.type == "cuda" and dtype != torch.float32
    return torch.autocast(device.type, dtype) if on_gpu else nullcontext()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a small tensor, for a device that may have much to do: from pinned memory, so that nobody waits."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _has_bf16() -> bool:
    """Whether the GPU supports bf16 in hardware; older ones emulate it, slowly."""
    return torch.cuda.is_bf16_supported(including_emulation=False)
