"""DistributedDataParallel on one process; on two: test_distributed_training.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from timechat.errors import ConfigError
from timechat.runners.engines import DDPEngine, ddp

CPU = torch.device("cpu")


def _engine(precision: str = "fp32", lr: float = 1.0) -> DDPEngine:
    engine = DDPEngine(CPU, precision)
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    engine.prepare(model, torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5))
    return engine


def test_one_process_trains_alone() -> None:
    engine = _engine()
    assert engine.name == "single"
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
    assert engine.check(torch.tensor(0.0)).norm == pytest.approx(5.0)
    engine.clip(1.0)
    torch.testing.assert_close(engine.model.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=0.0)
    assert engine.check(torch.tensor(0.0)).norm == pytest.approx(1.0)
    engine.clip(10.0)
    torch.testing.assert_close(engine.model.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize(
    ("loss", "factor", "finite"), [(1.0, 1.0, True), (1.0, torch.inf, False), (torch.nan, 1.0, False)]
)
def test_losses_and_gradients_that_are_no_numbers_are_noticed(loss: float, factor: float, finite: bool) -> None:
    engine = _engine()
    engine.backward(factor * engine.model(torch.ones(1, 2)).sum())
    assert engine.check(torch.tensor(loss)).finite is finite


@pytest.mark.parametrize(("scale", "finite"), [(2.0, True), (1.0, False)])
def test_an_overflow_is_the_scalers_business_as_long_as_there_is_a_scale(scale: float, finite: bool) -> None:
    engine = _engine()
    engine.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    engine.backward(torch.inf * engine.model(torch.ones(1, 2)).sum())
    assert engine.check(torch.tensor(1.0)).finite is finite


def test_the_norm_is_that_of_the_loss_without_its_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the scale is not read for it: that would wait for the device."""
    engine = _engine()
    engine.accelerator.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    monkeypatch.setattr(scaler, "get_scale", lambda: pytest.fail("the scale was read"))
    engine.backward(engine.model(torch.ones(1, 2)).sum())
    assert engine.model.weight.grad.tolist() == [[1024.0, 1024.0]]
    assert engine.check(torch.tensor(1.0)).norm == pytest.approx(2.0**0.5)


def test_a_skipped_step_leaves_no_trace() -> None:
    engine = _engine()
    engine.backward(torch.nan * engine.model(torch.ones(1, 2)).sum())
    engine.skip()
    assert engine.model.weight.tolist() == [[1.0, 1.0]]
    assert engine.model.weight.grad is None
    assert not engine.state_dict()["optimizer"]["state"]


def test_model_state_holds_what_learns() -> None:
    engine, model = DDPEngine(CPU, "fp32"), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    engine.prepare(model, torch.optim.SGD([model[0].bias], lr=1.0))
    assert set(engine.model_state()) == {"0.bias"} | {f"1.{name}" for name in model[1].state_dict()}


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
    monkeypatch.setattr(ddp.distributed, "world_size", lambda: world_size)
    monkeypatch.setattr(type(engine.accelerator), "num_processes", property(lambda self: sees))
    with pytest.raises(ConfigError, match=f"torchrun started 2 processes, but accelerate sees {sees}"):
        engine._check_processes()
