"""Copies of tensors in main memory, for checkpoints that are written while training changes the originals."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Slot:
    """Memory, and what says who has it: a weak reference to the copy in it."""

    memory: Tensor
    lent: Callable[[], Tensor | None]


class HostCopies:
    """Makes copies, in memory of earlier copies that nobody holds any more.

    The system hands out new memory page by page, which takes several times as long as the copy itself, and training
    waits for both.
    """

    def __init__(self) -> None:
        self._slots: dict[tuple[torch.Size, torch.dtype], list[_Slot]] = defaultdict(list)

    def of(self, tensor: Tensor) -> Tensor:
        """A copy on the CPU, which stays as it is while somebody holds it."""
        slots = self._slots[tensor.shape, tensor.dtype]
        slot = next((slot for slot in slots if slot.lent() is None), None)
        if slot is None:
            slot = _Slot(torch.empty(tensor.shape, dtype=tensor.dtype), lambda: None)
            slots.append(slot)
        copy = slot.memory.detach()  # another object in the same memory
        copy.copy_(tensor.detach())
        slot.lent = weakref.ref(copy)
        return copy
