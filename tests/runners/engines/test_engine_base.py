"""The choices that are the same for all engines: strategy, device, precision."""

from __future__ import annotations

import warnings

import pytest
import torch

from timechat.device import in_16_bits, resolve_device, resolve_precision
from timechat.errors import ConfigError
from timechat.registry import registry

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int, native_bf16: bool = True) -> None:
    """Pretend that this machine has GPUs; old ones emulate bf16, which torch counts as support unless asked not to."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native_bf16 or including_emulation
    )


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpus(monkeypatch, 0)
    assert resolve_device("auto") == CPU
    _gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("auto") == torch.device("cuda", 1)
    assert resolve_device("cpu") == CPU


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpus(monkeypatch, 0)
    with pytest.raises(ConfigError, match=r"run\.device=cuda: no CUDA GPU.*run\.device=cpu"):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match=r"run\.device=tpu: choose auto, cuda or cpu"):
        resolve_device("tpu")
    _gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"process 2 .* there are 2.*nproc_per_node"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("precision", "amp", "device", "native_bf16", "expected"),
    [
        (None, False, CPU, False, "fp32"),
        (None, True, CPU, False, "bf16"),
        (None, False, GPU, True, "fp32"),
        (None, True, GPU, True, "bf16"),
        (None, True, GPU, False, "fp16"),
        ("fp32", True, GPU, True, "fp32"),
        ("fp16", False, GPU, True, "fp16"),
        ("bf16", False, CPU, False, "bf16"),
    ],
)
def test_precision(
    monkeypatch: pytest.MonkeyPatch,
    precision: str | None,
    amp: bool,
    device: torch.device,
    native_bf16: bool,
    expected: str,
) -> None:
    _gpus(monkeypatch, 1, native_bf16)
    assert resolve_precision(precision, amp, device) == expected


def test_16_bits_are_for_gpus() -> None:
    """A CPU may have no units for them, and what is fp32 was asked for in fp32."""
    for device, dtype in ((CPU, torch.bfloat16), (CPU, torch.float32), (GPU, torch.float32)):
        assert not isinstance(in_16_bits(device, dtype), torch.autocast)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this machine has none
        assert in_16_bits(GPU, torch.float16).fast_dtype == torch.float16


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.precision=fp16 needs a GPU; on a CPU choose fp32 or bf16"):
        resolve_precision("fp16", False, CPU)


def test_names_that_are_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown engine 'ddpp' \(did you mean 'ddp'\?\); known: ddp, deepspeed_zero2"
    ):
        registry.get_engine_class("ddpp")
    with pytest.raises(ConfigError, match=r"run\.precision=fp8: choose one of fp32, bf16, fp16"):
        resolve_precision("fp8", False, CPU)
