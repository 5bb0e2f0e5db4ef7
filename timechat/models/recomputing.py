"""Layers whose activations are recomputed in the backward pass, to save memory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(layers: Iterable[nn.Module]) -> None:
    """Have layers keep only their inputs in training; their parameters keep their names."""
    for layer in layers:
        layer.__class__ = _recomputing(type(layer))


@cache
def _recomputing(kind: type[nn.Module]) -> type[nn.Module]:
    """A class of layers that compute the same as those of another class."""

    class Recomputing(kind):  # type: ignore[misc,valid-type]  # mypy does not follow variables that are classes
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not (self.training and torch.is_grad_enabled()):
                return super().forward(*args, **kwargs)
            return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)

    Recomputing.__name__ = Recomputing.__qualname__ = kind.__name__
    return Recomputing
