"""Frames in chunks: what learns nothing need not hold the activations of all frames at once.

On a CPU the activations of a few frames also stay in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.distributed.tensor import DTensor

# Bytes that the widest activation of a block may take, and frames that are encoded together all the same.
_CPU_BYTES, _LEAST_ON_CPU = 8 << 20, 2
_GPU_BYTES, _LEAST_ON_GPU = 160 << 20, 16


def default_chunk(bytes_per_frame: int, device: torch.device) -> int:
    """How many frames keep a device busy, while their activations stay small.

    Args:
        bytes_per_frame: of the widest activation.
        device: that computes; a CPU gets as many frames as fit its cache.
    """
    on_cpu = device.type == "cpu"
    budget, least = (_CPU_BYTES, _LEAST_ON_CPU) if on_cpu else (_GPU_BYTES, _LEAST_ON_GPU)
    return max(least, budget // bytes_per_frame)


def chunk_slices(num_frames: int, most: int) -> list[slice]:
    """As few chunks as there can be of at most `most` frames, of nearly the same length."""
    count = max(1, -(-num_frames // most))
    borders = [num_frames * number // count for number in range(count + 1)]
    return [slice(first, stop) for first, stop in itertools.pairwise(borders)]


def takes_chunks(*parts: nn.Module | nn.Parameter) -> bool:
    """Whether some parts of a model may be called once for each chunk, without gradients.

    Not where they learn: there, activations are kept for all frames. And not where they are gathered.
    """
    learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in _weights(parts))
    return not learns and not is_gathered(*parts)


def is_gathered(*parts: nn.Module | nn.Parameter) -> bool:
    """Whether processes gather weights of some parts from each other for each call of these.

    All processes must then call equally often, whatever the lengths of their videos and answers.
    """
    # FSDP's shards are DTensors; DeepSpeed's ZeRO-3 gives those that it shards an id.
    return any(isinstance(weight, DTensor) or hasattr(weight, "ds_id") for weight in _weights(parts))


def _weights(parts: Iterable[nn.Module | nn.Parameter]) -> Iterator[nn.Parameter]:
    for part in parts:
        yield from [part] if isinstance(part, nn.Parameter) else part.parameters()
