"""Copies for checkpoints: their memory is used again, but not while somebody has it."""

from __future__ import annotations

import torch
from torch import nn

from timechat.runners.engines.host_copies import HostCopies


def test_memory_is_used_again_as_soon_as_nobody_holds_the_copy() -> None:
    copies, layer = HostCopies(), nn.Linear(2, 3)
    first = copies.of(layer.weight)
    held, address = first.tolist(), first.data_ptr()
    with torch.no_grad():
        layer.weight.add_(1.0)
    second = copies.of(layer.weight)
    assert first.tolist() == held
    assert torch.equal(second, layer.weight)
    assert not second.requires_grad
    del first
    third = copies.of(layer.weight + 1.0)
    assert third.data_ptr() == address
    assert torch.equal(third, layer.weight + 1.0)
    assert torch.equal(second, layer.weight)


def test_shapes_and_types_have_memory_of_their_own() -> None:
    copies = HostCopies()
    wanted = [torch.ones(2, 3), torch.ones(3, 2), torch.ones(2, 3, dtype=torch.bfloat16), torch.tensor(7)]
    addresses = set()
    for tensor in wanted:
        copy = copies.of(tensor)
        assert torch.equal(copy, tensor)
        assert copy.dtype == tensor.dtype
        addresses.add(copy.data_ptr())
    assert len(addresses) == len(wanted)
