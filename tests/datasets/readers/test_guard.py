"""A file on which reading hangs, or that ends the process that reads it, costs no more than itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.timed_videos import X264, write_edit_list, write_numbered

from timechat.datasets.readers import ReaderSettings, guard, look_cache
from timechat.datasets.readers.look import look_at
from timechat.datasets.video import load_video
from timechat.datasets.worker_signals import STOP_SIGNALS
from timechat.errors import ConfigError, VideoError
from timechat.evaluation.frames import decoded
from timechat.evaluation.sharding import Clip

HIDDEN_S = 49.0  # where decord hangs
SOON = ReaderSettings(timeout_s=1.0)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video, which this process's child has read."""
    path = write_numbered(tmp_path / "clip.mp4", codec_options=X264)
    load_video(path, 4, 16)
    return path


def child_pid() -> int:
    assert guard._child is not None
    return guard._child.process.pid


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    return False


def test_a_file_that_hangs_is_left_after_the_limit(clip):
    """The message names the file, the limit and the key; the next video is read by another child."""
    pid = child_pid()
    os.kill(pid, signal.SIGSTOP)  # so that it hangs on whatever it is asked
    started = time.monotonic()
    with pytest.raises(VideoError, match=r"clip\.mp4: not read within model\.video_timeout_s=1 s .*raise the limit"):
        load_video(clip, 4, 16, settings=SOON)
    assert 0.9 < time.monotonic() - started < 30
    assert not is_alive(pid)
    assert len(load_video(clip, 4, 16, settings=replace(SOON, timeout_s=60)).frames) == 4
    assert child_pid() != pid


@pytest.fixture
def hanging(tmp_path: Path) -> tuple[Path, str]:
    """A video on which decord hangs for good, because its edit list ends before its media; and looks that hide that."""
    pytest.importorskip("decord")
    path, folder = tmp_path / "trimmed.mp4", tmp_path / "looks"
    options = {"x264-params": "keyint=250:min-keyint=250:scenecut=0", "preset": "ultrafast"}
    whole = write_numbered(tmp_path / "whole.mp4", count=500, gop=250, codec_options=options)
    shutil.copy(whole, path)
    write_edit_list(path, length_s=30)
    status = path.stat()
    innocent = look_at(str(whole))
    look_cache._write(look_cache.entry_of(str(path), status.st_size, status.st_mtime_ns, str(folder)), innocent)
    return path, str(folder)


def test_decord_cannot_hold_anybody_up(hanging):
    path, folder = hanging
    settings = ReaderSettings("decord", timeout_s=2.0, looks_dir=folder)
    with pytest.raises(VideoError, match=r"trimmed\.mp4: not read within model\.video_timeout_s=2 s"):
        load_video(path, 48, 16, start=HIDDEN_S, settings=settings)


def test_evaluation_leaves_a_file_that_hangs(hanging):
    """With workers and without."""
    path, folder = hanging
    clips, settings = [Clip(path.name, HIDDEN_S, None, None, ())], ReaderSettings("decord", 2.0, folder)
    for workers in (0, 1):
        sizes = {"num_frames": 48, "image_size": 16, "num_workers": workers}
        ((_, result),) = decoded(clips, path.parent, settings=settings, **sizes)
        assert isinstance(result, VideoError)
        assert "model.video_timeout_s=2 s" in str(result)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGSEGV, "ended the reading process with SIGSEGV"), (signal.SIGKILL, "out of memory")],
)
def test_a_file_that_ends_the_child_is_an_error_of_this_file(clip, number, reason):
    pid = child_pid()
    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(1.0, lambda: (os.kill(pid, number), os.kill(pid, signal.SIGCONT)))
    timer.start()
    with pytest.raises(VideoError, match=reason):
        load_video(clip, 4, 16)
    timer.join()
    assert len(load_video(clip, 4, 16).frames) == 4


def test_a_child_that_died_between_two_videos_is_replaced(clip):
    os.kill(child_pid(), signal.SIGKILL)
    time.sleep(0.2)
    assert len(load_video(clip, 4, 16).frames) == 4


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_to_stop_does_not_end_the_child(clip, number):
    """Schedulers send it to all processes of a job, of which one decides."""
    pid = child_pid()
    os.kill(pid, number)
    assert len(load_video(clip, 4, 16).frames) == 4
    assert child_pid() == pid
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(STOP_SIGNALS)


def test_names_are_those_of_the_folder_that_is_current_now(clip, tmp_path, monkeypatch):
    """The child was started in another one."""
    child_pid()
    (tmp_path / "videos").mkdir()
    shutil.copy(clip, tmp_path / "videos" / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(load_video("videos/a.mp4", 4, 16).frames) == 4
    with pytest.raises(VideoError, match=r"^videos/b\.mp4: "):
        load_video("videos/b.mp4", 4, 16)


def test_threads_share_the_child(clip):
    wanted, results = load_video(clip, 8, 32).frames, []
    threads = [threading.Thread(target=lambda: results.append(load_video(clip, 8, 32).frames)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(torch.equal(frames, wanted) for frames in results)


def test_without_a_limit_this_process_reads(clip, monkeypatch):
    monkeypatch.setattr(guard, "_child", None)
    assert len(load_video(clip, 4, 16, settings=ReaderSettings(timeout_s=None)).frames) == 4
    assert guard._child is None


def test_a_child_that_cannot_be_started_names_the_way_out(clip, monkeypatch):
    monkeypatch.setattr(guard, "_child", None)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigError, match=r"cannot be started .*model\.video_timeout_s=null"):
        load_video(clip, 4, 16)


WAITING = """
import sys
from timechat.datasets.readers import ReaderSettings, guard
from timechat.datasets.video import load_video

load_video(sys.argv[1], 4, 16)
print(guard._child.process.pid, flush=True)
load_video(sys.argv[2], 48, 16, start=49.0, settings=ReaderSettings("decord", timeout_s=300, looks_dir=sys.argv[3]))
"""


@pytest.fixture
def waiting(hanging: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process whose child hangs, and the child's id."""
    path, folder = hanging
    command = [sys.executable, "-c", WAITING, str(path.with_name("whole.mp4")), str(path), folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(1)  # until it hangs
        yield process, pid
        process.kill()


def gone(pid: int, within: float = 20) -> bool:
    end = time.monotonic() + within
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_ctrl_c_interrupts_a_file_that_hangs(waiting):
    process, pid = waiting
    assert is_alive(pid)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    assert gone(pid)


def test_a_child_that_hangs_ends_with_its_parent(waiting):
    process, pid = waiting
    assert is_alive(pid)
    process.kill()
    assert gone(pid)
