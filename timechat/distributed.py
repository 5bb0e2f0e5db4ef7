"""The rank of this process, and the few collective operations that code outside the engines needs.

`torchrun` passes a process its rank through the environment (RANK, WORLD_SIZE, LOCAL_RANK); without it there is one
process, and every function here does the obvious thing. Torch is imported when there is a group to join or to talk to:
commands that need no model start without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from timechat.errors import TimeChatError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def _group() -> Any:
    """`torch.distributed`, if this process has joined a group, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_initialized() else None


def rank() -> int:
    """This process's number, 0 for the main process."""
    dist = _group()
    return dist.get_rank() if dist else int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """How many processes work together."""
    dist = _group()
    return dist.get_world_size() if dist else int(os.environ.get("WORLD_SIZE", 1))


def is_main_process() -> bool:
    """True in the one process that writes logs, checkpoints and reports."""
    return rank() == 0


def init_process_group(device: torch.device, timeout: timedelta | None = None, alone: bool = False) -> None:
    """Join the other processes that torchrun started: NCCL on GPUs, gloo on CPUs. Does nothing if that was done.

    Args:
        device: of this process.
        timeout: how long a process waits for the others in a collective operation; None is torch's default.
        alone: create a group even for a single process.
    """
    if _group() or (world_size() == 1 and not alone):
        return
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if world_size() > 1:
        dist.init_process_group(backend, timeout=timeout)
    else:
        dist.init_process_group(backend, timeout=timeout, store=dist.HashStore(), rank=0, world_size=1)


def destroy_process_group() -> None:
    """Leave the group, if there is one."""
    if dist := _group():
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every process gets here."""
    if dist := _group():
        dist.barrier()


def all_reduce_sum(values: list[float], device: torch.device) -> list[float]:
    """Add up a short list of numbers over all processes; every process gets the sums."""
    if not _group():
        return [float(value) for value in values]  # a tensor would have to wait for what the device still does
    import torch

    return sum_tensor(torch.tensor(values, dtype=torch.float64, device=device)).tolist()


def sum_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Add up a tensor over all processes, in place; it stays on its device, and nothing waits for it there."""
    if dist := _group():
        dist.all_reduce(tensor)
    return tensor


def all_reduce_max(value: float, device: torch.device) -> float:
    """The largest value of all processes; every process gets it."""
    dist = _group()
    if not dist:
        return float(value)
    import torch

    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return tensor.item()


def anywhere(name: str, happened: bool) -> bool:
    """Whether something has happened on any process so far. Not collective: each process asks when it likes.

    Args:
        name: of what may happen; once it has, that remains.
        happened: whether it did on this process.
    """
    dist = _group()
    if not dist or dist.get_world_size() == 1:
        return happened
    store = dist.distributed_c10d._get_default_store()
    if happened:
        store.set(name, "1")
    return happened or store.check([name])


def gather_objects(value: Any) -> list[Any] | None:
    """Collect one picklable value from each process: the list, in order of rank, on the main process, else None."""
    dist = _group()
    if not dist:
        return [value]
    gathered: list[Any] | None = [None] * dist.get_world_size() if is_main_process() else None
    dist.gather_object(value, gathered)
    return gathered


def on_main_process(function: Callable[[], T]) -> T:
    """Run a function only on the main process; every process gets its (picklable) result or raises its TimeChatError.

    Collective: all processes learn of the main process's decision or failure.
    """
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except TimeChatError as error:
            outcome[1] = error
    if dist := _group():
        dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def setup_logging(level: int = logging.INFO) -> None:
    """Send log lines to stderr: everything from the main process, only errors from the others."""
    logging.basicConfig(
        level=level if is_main_process() else logging.ERROR,
        format=f"%(asctime)s %(levelname)s {'' if world_size() == 1 else f'[rank {rank()}] '}%(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
