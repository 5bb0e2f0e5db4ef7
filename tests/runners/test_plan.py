"""The published recipe on any number of processes, and numbers that do not fit."""

from __future__ import annotations

import math

import pytest
from helpers.tiny import defaults
from omegaconf import DictConfig, OmegaConf

from timechat.errors import ConfigError
from timechat.runners.plan import TrainingPlan, make_plan

PUBLISHED = {
    "max_epoch": 3,
    "iters_per_epoch": 22000,
    "warmup_steps": 13200,
    "batch_size_train": 1,
    "accum_grad_iters": 4,
    "reference_world_size": 8,
}


def _run(**settings: object) -> DictConfig:
    return OmegaConf.merge(defaults().run, PUBLISHED, settings)


def _plan(world_size: int, num_samples: int = 176_000, **settings: object) -> TrainingPlan:
    return make_plan(_run(**settings), world_size, num_samples)


@pytest.mark.parametrize(("world_size", "accumulation"), [(8, 4), (4, 8), (1, 32), (16, 2), (2, 16), (32, 1)])
def test_the_published_recipe_on_any_number_of_processes(world_size: int, accumulation: int) -> None:
    plan, published = _plan(world_size), _plan(8)
    assert (plan.accumulation, plan.micro_batch, plan.global_batch) == (accumulation, 1, 32)
    assert plan.accumulation * plan.micro_batch * world_size == plan.global_batch
    assert (plan.max_epoch, plan.steps_per_epoch, plan.draws) == (3, 5500, 176_000)
    points = [(0, 0), (0, 1), (0, 3299), (0, 3300), (0, 5499), (1, 0), (2, 5499)]
    assert [plan.learning_rate(*at) for at in points] == [published.learning_rate(*at) for at in points]


def test_learning_rates_of_the_published_recipe() -> None:
    """A step has the rate of its last micro-batch; the warm-up ends after 3300 steps."""
    plan = _plan(8)
    assert plan.learning_rate(0, 0) == pytest.approx(1e-6 + (3e-5 - 1e-6) * 3 / 13200, rel=1e-12)
    assert plan.learning_rate(0, 3299) == pytest.approx(1e-6 + (3e-5 - 1e-6) * 13199 / 13200, rel=1e-12)
    rates = [plan.learning_rate(epoch, step) for epoch in range(3) for step in range(0, 5500, 100)]
    assert max(rates) < 3e-5
    assert plan.learning_rate(2, 5499) == pytest.approx(1e-5, rel=1e-6)


def test_without_a_reference_the_numbers_are_meant_for_the_processes_that_run() -> None:
    plan = _plan(2, reference_world_size=None)
    assert (plan.accumulation, plan.global_batch, plan.steps_per_epoch) == (4, 8, 5500)


@pytest.mark.parametrize(
    "settings", [{"iters_per_epoch": 2**63}, {"batch_size_train": 2**40}, {"iters_per_epoch": 10**9}]
)
def test_an_epoch_that_fits_in_no_memory(settings: dict[str, int]) -> None:
    with pytest.raises(
        ConfigError, match=r"run\.iters_per_epoch=\d+ draws \d+ samples in an epoch .*, more than 1000000000"
    ):
        _plan(8, **settings)


def test_the_numbers_of_processes_that_fit_are_found_at_once() -> None:
    with pytest.raises(ConfigError, match=r"3 processes cannot share .* start 1, 2, 4, .*, 2048, 4096 processes"):
        _plan(3, accum_grad_iters=2**60)


def test_three_processes_cannot_share_the_global_batch() -> None:
    with pytest.raises(ConfigError, match="start 1, 2, 4, 8, 16, 32 processes") as error:
        _plan(3)
    for part in ("3 processes", "run.accum_grad_iters=4", "run.reference_world_size=8"):
        assert part in str(error.value)


# The published Charades and QVHighlights recipes: iterations that are no multiple of accum_grad_iters -> samples of an
# epoch, steps, samples of its last one.
LEFT_OVER = {3102: (12_408, 388, 24), 1714: (6856, 215, 8)}
LEFT_OVER_RUN = {"accum_grad_iters": 8, "reference_world_size": 4}


@pytest.mark.parametrize("iters", LEFT_OVER)
@pytest.mark.parametrize("world_size", [1, 2, 4, 8, 32])
def test_the_last_step_of_an_epoch_takes_the_micro_batches_that_are_left(world_size: int, iters: int) -> None:
    samples, steps, last = LEFT_OVER[iters]
    plan = _plan(world_size, iters_per_epoch=iters, **LEFT_OVER_RUN)
    assert (plan.global_batch, plan.accumulation) == (32, 32 // world_size)
    assert (plan.draws, plan.samples, plan.steps_per_epoch) == (samples, samples, steps)
    assert [plan.samples_of(step) for step in (0, steps - 2, steps - 1)] == [32, 32, last]
    assert sum(map(plan.samples_of, range(steps))) == samples


@pytest.mark.parametrize("iters", LEFT_OVER)
def test_learning_rates_where_micro_batches_are_left(iters: int) -> None:
    """Those of the published schedule, at the index that a step's last micro-batch has in the run."""
    plan = _plan(4, iters_per_epoch=iters, warmup_steps=iters, **LEFT_OVER_RUN)
    assert plan.schedule.iters_per_epoch == iters
    ends = [*range(7, iters, 8), iters - 1]  # of an epoch's steps
    assert len(ends) == plan.steps_per_epoch
    for epoch in range(3):
        rates = [plan.learning_rate(epoch, step) for step in range(plan.steps_per_epoch)]
        assert rates == [plan.schedule(epoch * iters + end) for end in ends]
    warmup = 1e-6 + (3e-5 - 1e-6) * (iters - 1) / iters
    assert plan.learning_rate(0, plan.steps_per_epoch - 1) == pytest.approx(warmup, rel=1e-12)
    cosine = 1e-5 + 2e-5 * 0.5 * (1 + math.cos(math.pi * (iters + 7) / (3 * iters)))
    assert plan.learning_rate(1, 0) == pytest.approx(cosine, rel=1e-12)


def test_steps_of_the_first_iterations() -> None:
    plan = _plan(4, iters_per_epoch=3102, **LEFT_OVER_RUN)
    expected = {0: 0, 1: 1, 8: 1, 9: 2, 3096: 387, 3097: 388, 3102: 388, 3103: 389, 3 * 3102: 3 * 388}
    assert {iterations: plan.steps_of(iterations) for iterations in expected} == expected


def test_fewer_iterations_than_accumulated_ones_are_one_step() -> None:
    plan = _plan(4, iters_per_epoch=3, **LEFT_OVER_RUN)
    assert (plan.steps_per_epoch, plan.samples_of(0), plan.global_batch) == (1, 12, 32)
    assert plan.learning_rate(1, 0) == plan.schedule(5)


def test_a_kept_global_batch_cuts_an_epoch_as_the_run_that_wrote_it_did() -> None:
    """Without a reference the processes of the first run set the batch; a resumed run on others keeps its samples."""
    settings = {"iters_per_epoch": 3102, "accum_grad_iters": 8, "reference_world_size": None}
    first = _plan(4, **settings)
    resumed = make_plan(_run(**settings), 2, 176_000, global_batch=first.global_batch)
    assert (resumed.samples, resumed.steps_per_epoch, resumed.global_batch) == (12_408, 388, 32)
    assert (resumed.accumulation, resumed.schedule) == (16, first.schedule)


@pytest.mark.parametrize("world_size", [1, 8, 16])
@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (32, 1), (33, 2), (176_000, 5500)])
def test_null_iterations_are_one_pass(world_size: int, samples: int, steps: int) -> None:
    plan = _plan(world_size, samples, iters_per_epoch=None)
    assert (plan.steps_per_epoch, plan.draws) == (steps, None)
    assert plan.schedule.iters_per_epoch == steps * 4


def test_the_schedule_gets_every_setting() -> None:
    settings = {"init_lr": 0.5, "min_lr": 0.25, "warmup_lr": 0.125, "warmup_steps": 7, "lr_decay_rate": 0.75}
    schedule = _plan(8, **settings).schedule
    expected = (3, 22000, 0.5, 0.25, 0.125, 7, 0.75)
    assert (
        schedule.max_epoch,
        schedule.iters_per_epoch,
        schedule.init_lr,
        schedule.min_lr,
        schedule.warmup_start_lr,
        schedule.warmup_steps,
        schedule.decay_rate,
    ) == expected
