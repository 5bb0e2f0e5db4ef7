"""One run at a time in a folder; whoever was killed keeps nobody out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.interruptions import LONG, Case, at_step, die
from helpers.training import ROOT

from timechat.errors import ConfigError
from timechat.runners import lock as lock_module
from timechat.runners.lock import FILE, RunLock

pytestmark = pytest.mark.forks

HOLD = """
import sys, time
from pathlib import Path
from timechat.runners.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that has the lock of `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as held:
        assert held.stdout.readline() == b"held\n"
        yield held
        held.kill()


@pytest.mark.parametrize("world", [1, 2])
def test_a_second_run_is_refused_until_the_first_is_gone(
    base: Path, tmp_path: Path, holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    monkeypatch.setattr(lock_module, "PATIENCE_S", 0.5)
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


def test_the_lock_comes_when_its_holder_ends(tmp_path: Path, holder: subprocess.Popen) -> None:
    """A job that is started again may overlap its predecessor for a moment."""
    subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {holder.pid}"])
    started = time.monotonic()
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    assert time.monotonic() - started > 0.5
    lock.release()


def test_an_error_gives_the_lock_back(base: Path, tmp_path: Path) -> None:
    case = Case(base / "videos", tmp_path / "run", (*LONG, "run.evaluate=true"))
    with pytest.raises(ConfigError):
        case.build()
    case = Case(base / "videos", tmp_path / "run", (*LONG, "run.resume=nowhere"))
    with pytest.raises(Exception, match="no such file"):
        case.build()
    assert not (tmp_path / "run" / FILE).exists()


def test_without_locks_a_run_is_only_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "lockf", unsupported)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
    assert "this file system has no locks" in caplog.text
