"""Decoded frames kept on disk: each file is decoded once, and never to other frames than without the cache."""

from __future__ import annotations

import hashlib
import os
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

    def __call__(self, path: str, generator: torch.Generator) -> Video:
        if not Path(path).is_file():
            raise VideoError(path, "no such file")
        self.calls += 1
        size = len(Path(path).read_bytes())
        frames = torch.arange(size * 12, dtype=torch.uint8).view(size, 3, 2, 2)
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
