"""Layers whose activations are recomputed in the backward pass, to save memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(layers: Iterable[nn.Module], most: bool | int = True) -> None:
    """Have layers keep only their inputs in training; their parameters keep their names.

    Args:
        layers: of a stack, in order.
        most: how many of them, beginning with the first; True: all.
    """
    for layer in islice(layers, None if most is True else most):
        kind = type(layer)
        if kind not in _CLASSES:
            _CLASSES[kind] = _recomputing(kind)
        layer.__class__ = _CLASSES[kind]


def _remade(kind: type[nn.Module]) -> nn.Module:
    """A layer of a class of `_recomputing`, without its contents, as pickle makes it."""
    layer = kind.__new__(kind)
    recompute([layer])
    return layer


def compile_forward(layer: nn.Module, **options: Any) -> None:
    """Have torch.compile compile a layer's forward pass, in place; its parameters keep their names.

    Of a layer that recomputes, only what is computed twice: not every version of torch can have both in one graph.
    """
    recomputes = type(layer) in _CLASSES.values()
    # The method and not the module: so all layers of a class share graphs, and hooks stay outside of them. The method
    # of the class itself, whose code no other class has: graphs are kept by code, and counted.
    plain: Any = super(type(layer), layer) if recomputes else layer
    setattr(layer, "forward_once" if recomputes else "forward", torch.compile(plain.forward, **options))


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}  # that `_recomputing` has made


def _recomputing(kind: Any) -> type[nn.Module]:
    """A class of layers that compute the same as those of another class."""

    class Recomputing(kind):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not (self.training and torch.is_grad_enabled()):
                return self.forward_once(*args, **kwargs)
            return checkpoint(self.forward_once, *args, use_reentrant=False, **kwargs)

        def forward_once(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

        def __reduce__(self) -> tuple[Any, ...]:
            return _remade, (kind,), self.__dict__

    Recomputing.__name__ = Recomputing.__qualname__ = kind.__name__
    return Recomputing
