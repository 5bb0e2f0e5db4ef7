"""Device and precision, and the engine on one process; several processes: test_distributed_training.py."""

from __future__ import annotations

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn

from timechat.errors import ConfigError
from timechat.runners import engines
from timechat.runners.engines import DDPEngine, resolve_device, resolve_precision

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


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.precision=fp16 needs a GPU; on a CPU choose fp32 or bf16"):
        resolve_precision("fp16", False, CPU)


def _engine(precision: str = "fp32", lr: float = 1.0) -> DDPEngine:
    engine = DDPEngine(CPU, precision)
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    engine.prepare(model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5))
    return engine


def test_one_process_trains_alone() -> None:
    engine = _engine()
    assert engine.accelerator.distributed_type == DistributedType.NO
    assert engine.device == CPU
    assert engine.unwrap() is engine.model


def test_gradients_add_up_until_the_step_and_are_forgotten_then() -> None:
    engine = _engine(lr=0.5)
    for last in (False, True):
        with engine.accumulate(last):
            engine.backward(engine.model(torch.tensor([[1.0, 2.0]])).sum())
    assert engine.model.weight.grad.tolist() == [[2.0, 4.0]]
    engine.step()
    assert engine.model.weight.tolist() == [[0.0, -1.0]]
    assert engine.model.weight.grad is None


def test_clip_scales_down_to_the_norm_and_tells_the_one_before() -> None:
    engine = _engine()
    engine.backward(engine.model(torch.tensor([[3.0, 4.0]])).sum())
    assert engine.clip(1.0) == pytest.approx(5.0)
    torch.testing.assert_close(engine.model.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=0.0)
    assert engine.clip(10.0) == pytest.approx(1.0)
    torch.testing.assert_close(engine.model.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=0.0)


def test_state_goes_round() -> None:
    """Optimizer and scaler; there is a scaler in fp16 alone, here one that works on a CPU."""
    first, second = _engine(), _engine()
    assert first.state_dict()["scaler"] is None
    for engine, scale in ((first, 4.0), (second, 8.0)):
        engine.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    first.backward(first.model(torch.ones(1, 2)).sum())
    first.step()
    second.load_state_dict(first.state_dict())
    momentum = [next(iter(engine.optimizer.state.values()))["momentum_buffer"] for engine in (first, second)]
    assert torch.equal(*momentum)
    assert second.accelerator.scaler.get_scale() == 4.0


def test_bf16_runs_the_model_in_bf16_and_keeps_fp32_weights() -> None:
    engine, layer, seen = DDPEngine(CPU, "bf16"), nn.Linear(2, 1), []
    engine.prepare(nn.Sequential(layer), torch.optim.SGD(layer.parameters(), lr=1.0))
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    engine.backward(engine.model(torch.ones(1, 2)).sum())
    assert seen == [torch.bfloat16]
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(("world_size", "sees"), [(2, 1), (2, 2)])
def test_processes_that_do_not_know_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, world_size: int, sees: int
) -> None:
    """accelerate falls back to single training without a word."""
    engine = _engine()
    monkeypatch.setattr(engines.distributed, "world_size", lambda: world_size)
    monkeypatch.setattr(type(engine.accelerator), "num_processes", property(lambda self: sees))
    with pytest.raises(ConfigError, match=f"torchrun started 2 processes, but accelerate sees {sees}"):
        engine._check_processes()
