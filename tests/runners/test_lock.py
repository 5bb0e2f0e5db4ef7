"""One run at a time in a folder; whoever was killed keeps nobody out. The lock itself: tests/test_locks.py."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.interruptions import LONG, Case, at_step, die
from helpers.locks import holding

from timechat import locks
from timechat.errors import ConfigError
from timechat.locks import FILE

pytestmark = pytest.mark.forks


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that has the lock of `run`."""
    with holding(tmp_path / "run") as held:
        yield held


@pytest.mark.parametrize("world", [1, 2])
def test_a_second_run_is_refused_until_the_first_is_gone(
    base: Path, tmp_path: Path, holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.5)
    case = Case(base / "videos", tmp_path / "run", LONG, world)
    assert case.run() == [1] * world
    for rank in range(world):
        assert f"{case.output}: process {holder.pid} on {socket.gethostname()} is training in it" in case.said(rank)
    assert {path.name for path in case.output.iterdir()} <= {FILE, "config.yaml"}
    holder.kill()
    holder.wait()
    assert case.run() == [0] * world, case.said()
    assert not (case.output / FILE).exists()


def test_who_was_killed_keeps_nobody_out_even_if_its_workers_live_on(base: Path, tmp_path: Path) -> None:
    case = Case(base / "videos", tmp_path / "run", (*LONG, "run.num_workers=2"))
    assert case.run(at_step(2, die)) == [-signal.SIGKILL]
    assert (case.output / FILE).exists()
    assert case.run() == [0], case.said()


def test_an_error_gives_the_lock_back(base: Path, tmp_path: Path) -> None:
    case = Case(base / "videos", tmp_path / "run", (*LONG, "run.evaluate=true"))
    with pytest.raises(ConfigError):
        case.build()
    case = Case(base / "videos", tmp_path / "run", (*LONG, "run.resume=nowhere"))
    with pytest.raises(Exception, match="no such file"):
        case.build()
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize("world", [1, 2])
def test_a_folder_that_cannot_be_written_to_is_named_before_weights_are_loaded(
    base: Path, tmp_path: Path, world: int
) -> None:
    """On all processes: none is left waiting for the main one. The folder of the run is a file."""
    (tmp_path / "file").write_text("")
    case = Case(base / "videos", tmp_path / "file", LONG, world)
    assert case.run() == [1] * world
    for rank in range(world):
        assert f"run.output_dir={case.output}: cannot be written to" in case.said(rank)
