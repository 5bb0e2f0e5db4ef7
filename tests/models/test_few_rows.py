"""Products with a few rows against `F.linear`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from timechat.models import few_rows
from timechat.models.few_rows import linear


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of which 3 does not divide the weight; also where torch comes without MKL."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_the_product(threads: int, rows: int, with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight, bias = (torch.randn(*size, generator=generator) for size in ((rows, 512), (640, 512), (640,)))
    assert weight.numel() >= few_rows._LARGE
    monkeypatch.setattr(few_rows, "_MKL", True)
    out = linear(x, weight, bias if with_bias else None)
    assert out.shape == (rows, 640)
    assert out.is_contiguous()
    assert_close(out, F.linear(x, weight, bias if with_bias else None), rtol=1e-5, atol=1e-4)


def test_what_gains_nothing_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows, small weights, and other precisions."""
    calls = []
    monkeypatch.setattr(few_rows, "_MKL", True)
    monkeypatch.setattr(F, "linear", lambda *arguments: calls.append(arguments))
    large, small = torch.ones(512, 256), torch.ones(8, 256)
    for x, weight in (
        (torch.ones(9, 256), large),
        (torch.ones(2, 256), small),
        (torch.ones(2, 256, dtype=torch.bfloat16), large.bfloat16()),
    ):
        linear(x, weight)
    assert len(calls) == 3
    linear(torch.ones(2, 256), large)
    assert len(calls) == 3
