"""Decoded frames kept on disk: each file is decoded once, and never to other frames than without the cache."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from timechat.datasets import frame_cache, readers
from timechat.datasets.frame_cache import FrameCache
from timechat.datasets.video import Video
from timechat.errors import VideoError


class Decoder:
    """Reads the size of a file as frames, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: str, generator: torch.Generator, start: float = 0.0, end: float = 0.0) -> Video:
        if not Path(path).is_file():
            raise VideoError(path, "no such file")
        self.calls += 1
        size = len(Path(path).read_bytes())
        frames = torch.arange(size * 12, dtype=torch.uint8).view(size, 3, 2, 2) + int(10 * start + end)
        return Video(frames, [i / 3 for i in range(size)], 29.97, size / 3)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "a.mp4"
    path.write_text("abc")
    return path


def cache_of(load: Decoder, tmp_path: Path, settings: str = "3 frames") -> FrameCache:
    """A cache below the test's folder."""
    return FrameCache(load, str(tmp_path / "cache"), settings)


def same(first: Video, second: Video) -> bool:
    """Frames and numbers, to the last bit."""
    numbers = (first.seconds, first.fps, first.duration) == (second.seconds, second.fps, second.duration)
    return numbers and torch.equal(first.frames, second.frames) and first.frames.dtype == second.frames.dtype


def test_each_file_is_decoded_once_also_for_another_process(tmp_path: Path, video: Path) -> None:
    load, other = Decoder(), Decoder()
    videos = [cache_of(load, tmp_path)(str(video), torch.Generator()) for _ in range(3)]
    videos.append(cache_of(other, tmp_path)(str(video), torch.Generator()))
    plain = Decoder()(str(video), torch.Generator())
    assert all(same(plain, kept) for kept in videos)
    assert (load.calls, other.calls) == (1, 0)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_changed_file_and_other_settings_are_decoded_again(tmp_path: Path, video: Path) -> None:
    load = Decoder()
    cache_of(load, tmp_path)(str(video), torch.Generator())
    cache_of(load, tmp_path, "5 frames")(str(video), torch.Generator())
    assert load.calls == 2
    video.write_text("abcde")
    assert len(cache_of(load, tmp_path)(str(video), torch.Generator()).frames) == 5


def test_parts_of_a_file_are_entries_of_their_own(tmp_path: Path, video: Path) -> None:
    load = Decoder()
    cache, parts = cache_of(load, tmp_path), [{}, {"start": 1.0, "end": 2.0}, {"start": 1.0, "end": 3.0}]
    for _ in range(2):
        found = [cache(str(video), torch.Generator(), **part) for part in parts]
        assert all(map(same, found, [Decoder()(str(video), torch.Generator(), **part) for part in parts]))
    assert load.calls == 3


@pytest.mark.parametrize(("where", "name"), [(readers, "VERSION"), (frame_cache, "LAYOUT")])
def test_another_reader_and_another_layout_are_decoded_again(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, where: ModuleType, name: str
) -> None:
    load = Decoder()
    for value in ("one", "other", "one"):
        monkeypatch.setattr(where, name, value)
        cache_of(load, tmp_path)(str(video), torch.Generator())
    assert load.calls == 2


def test_an_entry_with_channels_last_is_never_taken(tmp_path: Path, video: Path) -> None:
    """Earlier versions kept [T, H, W, 3], under the hash of path, size, time of change and settings."""
    status = os.stat(video)
    key = f"{video}|{status.st_size}|{status.st_mtime_ns}|3 frames"
    (tmp_path / "cache").mkdir()
    save_file(
        {
            "frames": torch.zeros(3, 2, 2, 3, dtype=torch.uint8),
            "seconds": torch.zeros(3, dtype=torch.float64),
            "fps_duration": torch.zeros(2, dtype=torch.float64),
        },
        tmp_path / "cache" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors",
    )
    load = Decoder()
    assert cache_of(load, tmp_path)(str(video), torch.Generator()).frames.shape == (3, 3, 2, 2)
    assert load.calls == 1


def test_a_damaged_entry_is_decoded_again(tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    load = Decoder()
    cache = cache_of(load, tmp_path)
    plain = cache(str(video), torch.Generator())
    (entry,) = (tmp_path / "cache").iterdir()
    for damage in (b"", entry.read_bytes()[:-5]):
        entry.write_bytes(damage)
        assert same(plain, cache(str(video), torch.Generator()))
        assert "is damaged" in caplog.text
        caplog.clear()
    assert load.calls == 3


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        cache_of(Decoder(), tmp_path)(str(tmp_path / "gone.mp4"), torch.Generator())
    assert not (tmp_path / "cache").exists()


# A disk that takes no more ------------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path: Path) -> list[str]:
    """Files of several lengths."""
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_text("x" * (number + 1))
    return [str(tmp_path / f"{number}.mp4") for number in range(4)]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_cache_and_nothing_else(
    tmp_path: Path, videos: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What was cached before is still read; nothing half written is left; one warning."""
    load = Decoder()
    cache = cache_of(load, tmp_path)
    cache(videos[0], torch.Generator())
    entries = set((tmp_path / "cache").iterdir())
    with largest_file(100):
        read = [cache(video, torch.Generator()) for video in videos]
    assert all(same(Decoder()(video, torch.Generator()), got) for video, got in zip(videos, read, strict=True))
    assert load.calls == 4, "the first one came from the cache"
    assert set((tmp_path / "cache").iterdir()) == entries
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{tmp_path / 'cache'}: cannot be written to (" in record.message
    assert "File too large" in record.message
    cache(videos[1], torch.Generator())
    assert set((tmp_path / "cache").iterdir()) == entries, "nothing more is written in this run"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_whatever_keeps_it_from_writing(
    tmp_path: Path, videos: list[str], number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        real(path, content[: len(content) // 2])
        raise OSError(number, os.strerror(number), str(path))

    cache = cache_of(Decoder(), tmp_path)
    monkeypatch.setattr(Path, "write_bytes", half)
    for video in videos:
        assert len(cache(video, torch.Generator()).frames)
    assert not list((tmp_path / "cache").iterdir())
    assert [os.strerror(number) in record.message for record in caplog.records] == [True]


def test_what_one_worker_finds_out_the_others_know(tmp_path: Path, videos: list[str]) -> None:
    cache = cache_of(Decoder(), tmp_path)

    def worker() -> None:
        with largest_file(100):
            cache(videos[0], torch.Generator())

    process = multiprocessing.get_context("fork").Process(target=worker)
    process.start()
    process.join()
    assert process.exitcode == 0
    cache(videos[1], torch.Generator())
    assert not list((tmp_path / "cache").iterdir())
