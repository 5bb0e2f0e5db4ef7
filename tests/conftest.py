"""Fixtures that several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.tiny import Golden, build_tiny

from timechat.models import TimeChat

# A busy machine may take any time for an example.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# Tiny matrices gain nothing from more threads, and lose much where tests run side by side.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that train in forks go first: autograd's threads, once started in a process, do not survive a fork."""
    items.sort(key=lambda item: item.get_closest_marker("forks") is None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_accelerator() -> None:
    """accelerate keeps the precision of a process's first run, which an earlier test may have had."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session", autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, leave nothing in the user's folder for caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Inputs and outputs that the published code computed for the tiny model."""
    return Golden.load()


@pytest.fixture(scope="session")
def tiny_model() -> TimeChat:
    """The tiny model with its golden weights, in evaluation mode; shared, so tests must not change it."""
    return build_tiny()
