"""When unreadable samples, and steps that are not finite, stop a run."""

from __future__ import annotations

import json

import pytest

from timechat.errors import TrainingError
from timechat.runners.guards import MINIMUM, WINDOW, NonFiniteGuard, SkipGuard


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
    """And the message does not say that the ratio was exceeded, when it was not."""
    with pytest.raises(TrainingError, match=r"^no sample could be used, although all of the epoch's .*skipped\.jsonl"):
        SkipGuard(1.0).update(drawn=100, skipped=11, irreplaceable=1)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("batch", [1, 32, 4096])
def test_after_so_many_in_a_row_the_ratio_is_exceeded_whatever_came_before(ratio: float, batch: int) -> None:
    """So a sample is given up only when the run stops anyway, for the reason that it then gives."""
    guard = SkipGuard(ratio)
    most = guard.most_tried(batch)
    assert most is not None
    for _ in range(3):
        guard.update(drawn=WINDOW, skipped=0, irreplaceable=0)
    with pytest.raises(TrainingError, match=f"{most} of the last {most + batch - 1} samples .* run.max_skip_ratio"):
        guard.update(drawn=most + batch - 1, skipped=most, irreplaceable=1)


def test_with_a_ratio_of_one_all_of_the_epoch_is_tried() -> None:
    assert SkipGuard(1.0).most_tried(32) is None


@pytest.mark.parametrize(("ratio", "stops"), [(0.0, True), (1.0, False)])
def test_the_bounds_of_the_ratio(ratio: float, stops: bool) -> None:
    guard = SkipGuard(ratio)
    if not stops:
        guard.update(drawn=500, skipped=500, irreplaceable=0)
        return
    guard.update(drawn=500, skipped=0, irreplaceable=0)
    with pytest.raises(TrainingError):
        guard.update(drawn=500, skipped=1, irreplaceable=0)


def test_the_skip_guard_goes_on_from_its_state() -> None:
    """One more than the ratio stops, though half of it was seen by the run before."""
    before, after = SkipGuard(0.1), SkipGuard(0.1)
    before.update(drawn=WINDOW - 1, skipped=99, irreplaceable=0)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.total_skipped == 99
    with pytest.raises(TrainingError, match="101 of the last 1001 samples"):
        after.update(drawn=2, skipped=2, irreplaceable=0)


def test_so_many_nonfinite_steps_in_a_row_stop() -> None:
    guard = NonFiniteGuard(3)
    for number, finite in enumerate((False, False, True, False, False)):
        guard.update(finite, number + 1, ["tv[0] a.mp4"])
    assert guard.total == 4
    with pytest.raises(TrainingError, match=r"in 3 steps in a row \(run\.max_nonfinite\), up to step 6.*tv\[1\] b"):
        guard.update(False, 6, ["tv[1] b.mp4"])


def test_the_nonfinite_guard_goes_on_from_its_state() -> None:
    before, after = NonFiniteGuard(2), NonFiniteGuard(2)
    before.update(False, 1, [])
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    with pytest.raises(TrainingError, match="up to step 2"):
        after.update(False, 2, [])
    assert after.total == 2


def test_without_a_number_nonfinite_steps_never_stop() -> None:
    guard = NonFiniteGuard(None)
    for number in range(100):
        guard.update(False, number, [])
    assert guard.total == 100
