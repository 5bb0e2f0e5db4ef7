"""`run.compile`: torch.compile of a model's layers, one by one and in place, so that all names stay.

Layers of one kind share their graphs, and lengths are symbols in them: batches of other lengths need no other graph.
What still makes new graphs again and again would cost more time than it saves, so graphs are counted.
"""

from __future__ import annotations

import logging
import os
import shutil

import torch
from torch._dynamo.utils import counters

from timechat.errors import ConfigError
from timechat.models.base import BaseModel
from timechat.models.recomputing import compile_forward

logger = logging.getLogger(__name__)

BACKEND = "inductor"  # `eager` and `aot_eager` need no C++ compiler
# Of a Q-Former's layers there are four kinds in one class: with cross-attention or without, with text or without. Each
# is compiled for training, for validation and for answers, with a mask or without. torch gives up after 8, if not told
# otherwise.
GRAPHS_OF_A_KIND = 32


class GraphCount:
    """Watches how many graphs are made, and warns once if they are too many.

    Args:
        kinds: of layers that were compiled.
    """

    def __init__(self, kinds: int):
        self.most = GRAPHS_OF_A_KIND * kinds
        self._before, self._warned = _graphs(), False

    @property
    def made(self) -> int:
        """Graphs since this began."""
        return _graphs() - self._before

    def check(self) -> None:
        """Warn, the first time that there are too many."""
        if self.made > self.most and not self._warned:
            self._warned = True
            logger.warning(
                "run.compile: %d graphs were made, more than %d: something besides the lengths differs from batch to "
                "batch, and compiling again and again takes time. TORCH_LOGS=recompiles says what; run.compile=false "
                "goes on without", self.made, self.most
            )  # fmt: skip


def compile_layers(model: BaseModel) -> GraphCount:
    """Compile the forward pass of each layer when it is first used; its parameters keep their names.

    Args:
        model: whatever its state.

    Returns:
        What counts the graphs.

    Raises:
        ConfigError: the model has no layers to compile, or there is no compiler.
    """
    compiler = os.environ.get("CXX", "g++")  # as inductor chooses
    if BACKEND == "inductor" and shutil.which(compiler) is None:
        raise ConfigError(
            f"run.compile=true needs a C++ compiler, and there is no {compiler}: install g++, or name another compiler "
            "in the environment variable CXX, or set run.compile=false"
        )
    layers = list(model.layers_to_compile())
    if not layers:
        raise ConfigError(f"run.compile=true: {type(model).__name__} names no layers to compile; set it to false")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS_OF_A_KIND)
    # `dynamic` would read a norm's epsilon and LoRA's scaling from tensors in each call, which torch 2.11 cannot do
    # where activations are recomputed.
    torch._dynamo.config.specialize_float = True
    count = GraphCount(len({type(layer) for layer in layers}))
    for layer in layers:
        compile_forward(layer, dynamic=True, backend=BACKEND, options=_options())
    return count


def _options() -> dict[str, bool] | None:
    """Of the compiler. This analysis is no use where lengths are symbols, and fails there in torch 2.11 on GPUs."""
    useless = "triton.coalesce_tiling_analysis"
    known = BACKEND == "inductor" and useless in torch._inductor.list_options()
    return {useless: False} if known else None


def _graphs() -> int:
    return counters["stats"]["unique_graphs"]
