"""`--dry-run` on a machine with a GPU whose speed is known tells how long the run will take."""

from __future__ import annotations

import re

import pytest
from helpers.tiny import Golden, build_tiny, golden_batch, tiny_config

from timechat.runners import dry_run as module
from timechat.runners import peak_flops
from timechat.runners.dry_run import dry_run
from timechat.runners.expected_time import expected_time
from timechat.runners.plan import make_plan

H200 = "NVIDIA H200"
OPTIONS = ("run.iters_per_epoch=1000", "run.accum_grad_iters=4", "run.max_epoch=3", "run.reference_world_size=8")


def lines(gpu: str | None, seconds: int = 12) -> list[str]:
    cfg, model = tiny_config(OPTIONS), build_tiny()
    times = [float(number) for number in range(seconds)]
    return list(expected_time(model, times, model.token_counts(times), make_plan(cfg.run, 8, 100), 8, gpu))


def figure(report: list[str], name: str) -> float:
    (line,) = (line for line in report if line.startswith(name))
    return float(re.search(r"(\d[\d.e+-]*) (?:s|hours)$", line)[1])


def test_all_of_the_peak_is_a_lower_bound() -> None:
    """24,000 samples on eight GPUs are 3,000 on each."""
    report = lines(H200)
    one, run = figure(report, "a sample on one GPU"), figure(report, "the run on 8 such GPUs")
    assert run * 3600 == pytest.approx(3000 * one, rel=0.01)
    assert "at least" in report[1]
    assert "at least" in report[2]
    assert "989 TFLOP/s" in report[3]
    assert "not measured" in report[4]


def test_a_measured_share_gives_the_time_to_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = figure(lines(H200), "a sample on one GPU")
    monkeypatch.setitem(peak_flops.MEASURED_SHARES, "H200", 0.5)
    report = lines(H200)
    assert figure(report, "a sample on one GPU") == pytest.approx(2 * bound, rel=0.01)
    assert not any("least" in line for line in report)
    assert "50% of 989 TFLOP/s" in report[-2]


def test_the_operations_are_those_of_a_prompt() -> None:
    """A whole conversation about the same frames has more, a shorter video fewer."""
    golden, model = Golden.load(), build_tiny()
    whole = model.flop_counter()(golden_batch(golden, model.tokenizer)) / 989.4e12
    assert figure(lines(H200, seconds=6), "a sample") < figure(lines(H200), "a sample") < whole


@pytest.mark.parametrize("gpu", [None, "Tesla V100-SXM2-32GB"])
def test_nothing_is_said_of_unknown_speeds(gpu: str | None) -> None:
    assert lines(gpu) == []


def test_the_dry_run_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Time to expect" not in dry_run(tiny_config(OPTIONS)).text
    monkeypatch.setattr(module, "gpu_name", lambda: H200)
    report = dry_run(tiny_config(OPTIONS)).text
    assert f"== Time to expect on {H200}\n" in report
    assert "\nthe run on 8 such GPUs" in report
