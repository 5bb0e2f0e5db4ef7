"""A few rows times a large weight, as each step of decoding does it, with all threads of a CPU.

`F.linear` hands these to MKL, which gives one row to one thread, and takes for two to eight rows far longer than the
weight takes to be read (figures in benchmarks/RESULTS.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MKL = torch.backends.mkl.is_available()
_FEW = 8
_LARGE = 1 << 17  # numbers in a weight; with smaller ones, other operations take longer than they save


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `F.linear`, to the rounding of single precision.

    Args:
        x: [N, D].
        weight: [O, D].
        bias: [O].

    Returns:
        [N, O].
    """
    gains = _MKL and x.device.type == "cpu" and x.dtype == torch.float32
    if not gains or len(x) > _FEW or weight.numel() < _LARGE:
        return F.linear(x, weight, bias)
    if len(x) > 1:
        out = (weight @ x.T).T.contiguous()
        return out if bias is None else out + bias
    parts = next(number for number in range(torch.get_num_threads(), 0, -1) if len(weight) % number == 0)
    pieces = weight.unflatten(0, (parts, -1)).transpose(1, 2)  # [parts, D, O / parts], at most one for each thread
    out = torch.bmm(x.expand(parts, 1, -1), pieces).flatten()[None]
    return out if bias is None else out + bias
