"""Children of a tool: none outlives a tool that is stopped, and a folder is held as long as one works in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from quickstart.children import alone_in, run_child, run_forks, stopping_children
from timechat.errors import TrainingError

# Two children in two threads; each says that it runs, and that it was told to end.
TOOL = """
import sys
from concurrent.futures import ThreadPoolExecutor
from quickstart.children import run_child, stopping_children
child = "import pathlib, signal, sys, time; place = pathlib.Path(sys.argv[1]); place.write_text('runs');" \\
    "signal.signal(signal.SIGTERM, lambda *_: (place.write_text('ended'), sys.exit(0))); time.sleep(60)"
with stopping_children(), ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda name: [run_child([sys.executable, "-c", child, name + n]) for n in "12"], sys.argv[1:]))
"""


def wait_until(true: Callable[[], bool]) -> None:
    """For a few minutes, because a busy machine takes long to import torch."""
    until = time.monotonic() + 300
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_children_end_with_the_tool_and_no_other_begins(tmp_path: Path, number: int) -> None:
    names = [str(tmp_path / name) for name in "ab"]
    tool = subprocess.Popen([sys.executable, "-c", TOOL, *names], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: all(holds(Path(f"{name}1"), "runs") for name in names))
        time.sleep(0.1)  # the child that said so is about to listen
        tool.send_signal(number)
        _, err = tool.communicate(timeout=300)
    finally:
        tool.kill()
    assert tool.returncode != 0
    assert "KeyboardInterrupt" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a1", "b1"]
    assert all(holds(Path(f"{name}1"), "ended") for name in names)


def test_the_status_of_a_child() -> None:
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def _write_sum(place: Path) -> int:
    """As a rank: write what all ranks together have."""
    import torch

    from timechat import distributed

    try:
        distributed.init_process_group(torch.device("cpu"))
        total = distributed.all_reduce_sum([float(distributed.rank() + 1)], torch.device("cpu"))
        place.with_suffix(f".{distributed.rank()}").write_text(f"{distributed.world_size()} {total}")
        return 0
    finally:
        distributed.destroy_process_group()


@pytest.mark.distributed
def test_forks_are_ranks_of_one_group(tmp_path: Path) -> None:
    assert run_forks(2, partial(_write_sum, tmp_path / "sum")) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(("sum.0", "sum.1"), "2 [3.0]")
    assert "RANK" not in os.environ


def test_a_fork_replaces_the_pool_of_threads_before_others_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd's threads may find none, once in a thousand times."""
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert run_forks(1, lambda: 0 if asked == [torch.get_num_threads()] else 1) == 0
    assert asked == []  # here


def test_the_status_of_forks_is_that_of_the_one_that_failed(tmp_path: Path) -> None:
    """The other one is not waited for."""

    def main() -> int:
        if os.environ["RANK"] == "0":
            return 4
        signal.pause()
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quickstart.children._GRACE", 0.1)
        assert run_forks(2, main) == 4


def test_forks_end_with_the_tool(tmp_path: Path) -> None:
    """The tool is asked to stop while it waits for a fork, which then gets the signal, too."""

    def main() -> int:
        signal.signal(signal.SIGTERM, lambda *_: (tmp_path.joinpath("ended").touch(), sys.exit(0)))
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
        return 0

    with pytest.raises(KeyboardInterrupt), stopping_children():
        run_forks(1, main)
    assert (tmp_path / "ended").exists()


def test_a_signal_while_forks_are_started_reaches_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when they run, but the tool does not know them yet."""
    start = torch.multiprocessing.start_processes

    def start_and_be_stopped(*arguments: Any, **options: Any) -> Any:
        group = start(*arguments, **options)
        wait_until((tmp_path / "begun").is_file)
        signal.raise_signal(signal.SIGTERM)
        return group

    def main() -> int:
        signal.signal(signal.SIGTERM, lambda *_: (tmp_path.joinpath("ended").touch(), sys.exit(0)))
        tmp_path.joinpath("begun").touch()
        time.sleep(60)
        return 0

    monkeypatch.setattr(torch.multiprocessing, "start_processes", start_and_be_stopped)
    with pytest.raises(KeyboardInterrupt), stopping_children():
        run_forks(1, main)
    assert (tmp_path / "ended").exists()


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopping_children():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
    assert run_child([sys.executable, "-c", ""]) == 0


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"):
        with pytest.raises(TrainingError, match=r"run: another process is training there"), alone_in(tmp_path / "run"):
            pass
        with alone_in(tmp_path / "other"):
            pass
    with alone_in(tmp_path / "run"):
        pass


def test_a_child_holds_the_folder_when_its_parent_is_gone(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run") as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    with pytest.raises(TrainingError), alone_in(tmp_path / "run"):
        pass
    child.communicate(b"\n")
    with alone_in(tmp_path / "run"):
        pass
