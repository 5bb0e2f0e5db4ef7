"""Small models for tests of the training loop: nothing of a config, no weight files."""

from __future__ import annotations

from torch import Tensor, nn

from timechat.models import BaseModel


class PlainModel(BaseModel):
    """A model whose parts are made in its own `__init__`."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


class PlainLayers(PlainModel):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override]
        """Through all layers."""
        for layer in self.children():
            values = layer(values)
        return values
