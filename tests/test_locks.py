"""The lock of an output folder: taken, waited for, left behind by the dead, and where it cannot be had."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers.locks import holding

from timechat import locks
from timechat.errors import ConfigError
from timechat.locks import FILE, FolderLock


def lock_of(folder: Path) -> FolderLock:
    return FolderLock(folder, f"--output-dir {folder}", "is evaluating into it")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.3)


def test_the_file_says_who_has_it_and_goes_with_the_lock(tmp_path: Path) -> None:
    lock = lock_of(tmp_path / "a/b")
    lock.acquire()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "work": "is evaluating into it"}
    assert json.loads((tmp_path / "a/b" / FILE).read_text()) == holder
    (tmp_path / "a/b/result").touch()
    lock.release()
    lock.release()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["result"]


def test_a_folder_in_which_nothing_was_done_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "a/b", tmp_path / "there"):
        lock = lock_of(folder)
        lock.acquire()
        lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_holder_is_named(tmp_path: Path) -> None:
    with holding(tmp_path) as held, pytest.raises(ConfigError) as caught:
        lock_of(tmp_path).acquire()
    named = f"--output-dir {tmp_path}: process {held.pid} on {socket.gethostname()} is training in it; wait"
    assert str(caught.value).startswith(named)


def test_the_lock_comes_when_its_holder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is started again may overlap its predecessor for a moment."""
    monkeypatch.setattr(locks, "PATIENCE_S", 60.0)
    with holding(tmp_path) as held:
        subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {held.pid}"])
        started = time.monotonic()
        lock = lock_of(tmp_path)
        lock.acquire()
        assert time.monotonic() - started > 0.5
        lock.release()


@pytest.mark.parametrize("content", ["", "{}", "[1]", "no JSON", json.dumps({"host": "h", "pid": "x", "work": "w"})])
def test_a_file_that_was_left_behind_means_nothing(tmp_path: Path, content: str) -> None:
    """Also if its process seems to live: numbers of processes are used again, and other machines have them too."""
    for left in (content, json.dumps({"host": socket.gethostname(), "pid": os.getppid(), "work": "trains"})):
        (tmp_path / FILE).write_text(left)
        lock = lock_of(tmp_path)
        lock.acquire()
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
        lock.release()


# A file system without locks ------------------------------------------------------------------------------------------


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "lockf", unsupported)


def dead_process() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_without_locks_the_dead_and_the_far_keep_nobody_out(
    tmp_path: Path, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    who = {"here": (socket.gethostname(), dead_process()), "elsewhere": ("elsewhere", os.getppid())}[host]
    (tmp_path / FILE).write_text(json.dumps({"host": who[0], "pid": who[1], "work": "is training in it"}))
    lock = lock_of(tmp_path)
    lock.acquire()
    assert "this file system has no locks ([Errno 37] No locks available); nothing keeps out a second start on an" in (
        caplog.text
    )
    lock.release()
    assert not (tmp_path / FILE).exists()


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_process_of_this_machine_that_lives_keeps_others_out(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        json.dumps({"host": socket.gethostname(), "pid": os.getppid(), "work": "is training in it"})
    )
    with pytest.raises(ConfigError, match=f"process {os.getppid()} on .* is training in it; wait until it ends"):
        lock_of(tmp_path).acquire()


# Folders that cannot be written to ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=rf"--output-dir .*{path}: cannot be written to \(there is a file .*\); give another folder"
    ):
        lock_of(tmp_path / path).acquire()


@pytest.mark.parametrize("call", ["mkdir", "open", "pwrite"])
def test_a_disk_that_is_read_only_or_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """As they answer: at the folder, at the file, or at its content."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(28 if call == "pwrite" else 30, "No space" if call == "pwrite" else "Read-only file system")

    monkeypatch.setattr(Path if call == "mkdir" else locks.os, call, fail)
    with pytest.raises(ConfigError, match=r"cannot be written to \(\[Errno \d+\] (No space|Read-only file system)\)"):
        lock_of(tmp_path / "x").acquire()
