"""Peak speed of GPUs, to report what share of it a run uses (model FLOP utilisation)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

# Dense bf16 TFLOP/s with fp32 accumulation, from NVIDIA's data sheets (which print twice the number, "with sparsity",
# for most): nvidia.com/en-us/data-center/{a100,a40,a10-gpu,l4,l40,l40s,h100,h200}; RTX: the GA102 and Ada white papers.
# The first name that is part of the device's name counts.
PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200 NVL": 835.0,
    "H100": 989.4,
    "H200": 989.4,
    "GH200": 989.4,
    "A100": 312.0,
    "A40": 149.7,
    "A10": 125.0,
    "RTX A6000": 154.8,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 6000 Ada": 364.2,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}

# Share of the peak that training at the published size reaches, by a part of the device's name: the TFLOP/s that
# `benchmarks/gpu.py` prints for batch and checkpointing of the recipe, over PEAK_TFLOPS. Larger batches reach more.
MEASURED_SHARES: dict[str, float] = {"H100 80GB HBM3": 0.148}


def peak_flops(device: torch.device) -> float | None:
    """Peak dense bf16 operations per second of a GPU; None for devices that are not in the table."""
    if device.type != "cuda":
        return None
    return peak_of_name(torch.cuda.get_device_name(device))


def peak_of_name(name: str) -> float | None:
    """As `peak_flops`, for a name such as "NVIDIA A100-SXM4-80GB"."""
    tera = _by_name(PEAK_TFLOPS, name)
    return None if tera is None else tera * 1e12


def measured_share(name: str) -> float | None:
    """The share of its peak that training reaches on a GPU; None where it was not measured."""
    return _by_name(MEASURED_SHARES, name)


def _by_name(table: Mapping[str, float], name: str) -> float | None:
    return next((value for part, value in table.items() if re.search(rf"\b{part}\b", name)), None)
