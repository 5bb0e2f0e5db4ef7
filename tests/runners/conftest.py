"""What all tests of training need."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from helpers.interruptions import LONG, NO_DROPOUT, Case, make_gradients


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """accelerate keeps one state a process, with the precision of its first use; every test starts without."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exact")
    make_gradients(folder / "videos")
    # Whatever is imported or loaded when it is first needed is there before processes are forked.
    Case(folder / "videos", folder / "first", ("run.iters_per_epoch=1", *NO_DROPOUT)).build().train()
    return folder


@pytest.fixture(scope="module")
def whole(base: Path) -> Callable[..., dict[str, Any]]:
    """What a run does that nothing interrupts; each kind is trained once."""
    known: dict[Any, Any] = {}

    def result(*options: str, world: int = 1, entry: dict | None = None) -> dict[str, Any]:
        key = (*options, world, json.dumps(entry))
        if key not in known:
            case = Case(base / "videos", base / f"whole{len(known)}", (*LONG, *options), world, entry)
            assert case.run() == [0] * world, case.said()
            known[key] = case.result() | {"drawn": case.drawn()}
        return known[key]

    return result
