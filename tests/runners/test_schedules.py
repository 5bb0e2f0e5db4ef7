"""Learning rates of every step against those of the published code, and the errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timechat.errors import ConfigError, RegistryError
from timechat.runners.schedules import build_lr_schedule

CASES = json.loads((Path(__file__).parents[1] / "golden" / "lr_schedules.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['name']}" for i, case in enumerate(CASES)])
def test_every_step_has_the_published_rate(case: dict) -> None:
    schedule = build_lr_schedule(case["name"], **case["args"])
    assert [schedule(step) for step in range(len(case["lrs"]))] == pytest.approx(case["lrs"], abs=1e-12, rel=0)


def test_the_goldens_cover_both_schedules_with_and_without_warmup() -> None:
    assert {(case["name"], case["args"]["warmup_steps"] > 0) for case in CASES} >= {
        ("linear_warmup_cosine_lr", True),
        ("linear_warmup_step_lr", True),
    }


def test_warmup_longer_than_an_epoch_goes_on_in_the_next() -> None:
    schedule = build_lr_schedule(
        "linear_warmup_cosine_lr",
        max_epoch=4,
        iters_per_epoch=10,
        init_lr=3.0,
        min_lr=1.0,
        warmup_start_lr=1.0,
        warmup_steps=20,
    )
    assert [schedule(step) for step in (0, 10, 19)] == pytest.approx([1.0, 2.0, 2.9])


@pytest.mark.parametrize("name", ["linear_warmup_cosine_lr", "linear_warmup_step_lr"])
def test_without_warmup_or_start_the_first_rate_is_init_lr(name: str) -> None:
    schedule = build_lr_schedule(name, max_epoch=2, iters_per_epoch=5, init_lr=0.5, min_lr=0.1, decay_rate=0.5)
    assert schedule(0) == 0.5


def test_the_step_schedule_never_falls_below_min_lr() -> None:
    schedule = build_lr_schedule(
        "linear_warmup_step_lr", max_epoch=9, iters_per_epoch=2, init_lr=1.0, min_lr=0.2, decay_rate=0.5
    )
    assert [schedule(2 * epoch) for epoch in range(5)] == [1.0, 0.5, 0.25, 0.2, 0.2]


def test_the_step_schedule_without_a_factor_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.lr_decay_rate is null"):
        build_lr_schedule("linear_warmup_step_lr", max_epoch=1, iters_per_epoch=2, init_lr=1.0)


def test_an_unknown_schedule_names_the_known_ones() -> None:
    with pytest.raises(RegistryError, match=r"did you mean 'linear_warmup_cosine_lr'"):
        build_lr_schedule("linear_warmup_cosin_lr", max_epoch=1, iters_per_epoch=1, init_lr=1.0)
