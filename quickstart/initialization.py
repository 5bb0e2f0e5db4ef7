"""Initial values of weights that no file contains.

The published parts are initialised as BERT and ViT-g are, normal with a standard deviation of 0.02, which suits their
width: 0.02 is about 1408 ** -0.5. With that, a network of width 96 passes almost nothing on and hardly learns; `fan_in`
gives it the scale that 0.02 gives the wide one.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


def initialize(model: nn.Module, how: str, but: Collection[str] = ()) -> None:
    """Draw the weights of a model again, from torch's global generator.

    Args:
        model: with the published initial weights.
        how: `published` leaves them; `fan_in` draws all linear layers, embeddings and query tokens.
        but: names of parts that keep their weights.
    """
    if how == "published":
        return
    for name, part in model.named_children():
        if name not in but:
            begin_at_fan_in(part)
    for name, parameter in model.named_parameters(recurse=False):
        if name not in but:
            nn.init.normal_(parameter)


def begin_at_fan_in(module: nn.Module) -> None:
    """Draw the matrices [out, in] of linear layers with a standard deviation of in^-1/2, those of embeddings with 1.

    Biases and norms stay as they are. Draws from torch's global generator.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight)
