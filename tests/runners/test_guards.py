"""When unreadable samples stop a run."""

from __future__ import annotations

import pytest

from timechat.errors import TrainingError
from timechat.runners.guards import MINIMUM, WINDOW, SkipGuard


def test_up_to_the_ratio_training_goes_on() -> None:
    guard = SkipGuard(0.1)
    for _ in range(200):
        guard.update(drawn=10, skipped=1, irreplaceable=0)
    assert guard.total_skipped == 200


def test_one_more_than_the_ratio_stops() -> None:
    guard = SkipGuard(0.1)
    guard.update(drawn=WINDOW - 1, skipped=99, irreplaceable=0)
    with pytest.raises(TrainingError, match=r"101 of the last 1001 samples .* run\.max_skip_ratio=0\.1"):
        guard.update(drawn=2, skipped=2, irreplaceable=0)


def test_the_first_few_samples_are_no_statistic() -> None:
    """One bad file among the first two is no reason to stop; more than 10 % of MINIMUM is."""
    guard = SkipGuard(0.1)
    for _ in range(MINIMUM // 10):
        guard.update(drawn=1, skipped=1, irreplaceable=0)
    with pytest.raises(TrainingError):
        guard.update(drawn=1, skipped=1, irreplaceable=0)


def test_only_recent_samples_count() -> None:
    """A long good beginning does not hide that everything fails now, and old failures are forgotten."""
    guard = SkipGuard(0.1)
    for _ in range(1000):
        guard.update(drawn=100, skipped=0, irreplaceable=0)
    guard.update(drawn=100, skipped=100, irreplaceable=0)
    with pytest.raises(TrainingError):
        guard.update(drawn=1, skipped=1, irreplaceable=0)
    guard = SkipGuard(0.1)
    guard.update(drawn=500, skipped=50, irreplaceable=0)
    for _ in range(20):
        guard.update(drawn=100, skipped=0, irreplaceable=0)
    guard.update(drawn=100, skipped=100, irreplaceable=0)


def test_a_sample_without_replacement_stops_at_once() -> None:
    with pytest.raises(TrainingError, match=r"skipped\.jsonl"):
        SkipGuard(1.0).update(drawn=100, skipped=11, irreplaceable=1)


@pytest.mark.parametrize(("ratio", "stops"), [(0.0, True), (1.0, False)])
def test_the_bounds_of_the_ratio(ratio: float, stops: bool) -> None:
    guard = SkipGuard(ratio)
    if not stops:
        guard.update(drawn=500, skipped=500, irreplaceable=0)
        return
    guard.update(drawn=500, skipped=0, irreplaceable=0)
    with pytest.raises(TrainingError):
        guard.update(drawn=500, skipped=1, irreplaceable=0)
