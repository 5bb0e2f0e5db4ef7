"""What GPUs can do at best."""

from __future__ import annotations

import pytest
import torch

from timechat.runners.peak_flops import peak_flops, peak_of_name


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla V100-SXM2-32GB", None),
        ("NVIDIA A1000", None),
    ],
)
def test_peaks_are_found_by_the_devices_name(name: str, tera: float | None) -> None:
    assert peak_of_name(name) == (None if tera is None else tera * 1e12)


def test_a_cpu_has_no_peak() -> None:
    assert peak_flops(torch.device("cpu")) is None
