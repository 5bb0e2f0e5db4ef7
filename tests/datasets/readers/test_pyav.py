"""What only matters when reading with PyAV: edit lists, seeking, damage."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from helpers.videos import gray_frames, write_video

from timechat.datasets import readers
from timechat.datasets.readers import pyav
from timechat.datasets.video import load_video, uniform_indices
from timechat.errors import VideoError


@pytest.fixture(autouse=True)
def _with_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "READER", "pyav")


def noise(count: int) -> np.ndarray:
    """Frames that take many bytes: uint8 [T, 48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


def trim(path: Path, frames: int) -> None:
    """Write into an mp4 file without B-frames, at 10 frames a second, that its first frames are not to be shown."""
    data = bytearray(path.read_bytes())
    start = data.index(b"elst") + 16
    data[start : start + 4] = struct.pack(">i", frames * 1024)
    path.write_bytes(data)


@pytest.mark.parametrize("hidden", [3, 5, 7])
def test_what_the_file_says_is_not_shown_is_left_out(tmp_path, hidden):
    """A cut that does not begin at a key frame keeps frames that are decoded and never shown."""
    path = write_video(tmp_path / "clip.mp4", frames=20, codec_options={"bf": "0"})
    trim(path, hidden)
    video = load_video(path, image_size=16)
    assert video.seconds == pytest.approx([i / 10 for i in range(20 - hidden)])
    levels = gray_frames(20)[hidden:, 0, 0, 0].astype(int)
    assert np.abs(video.frames.float().mean((1, 2, 3)).numpy() - levels).max() < 4


def test_a_file_that_is_cut_short_is_refused_before_its_end_is_decoded(tmp_path):
    """Otherwise a video would be taken for a shorter one."""
    path = write_video(tmp_path / "clip.mp4", noise(20), faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="incomplete"):
        load_video(path, 1, 16)


def test_seeking_leaves_out_what_nobody_asked_for(tmp_path, monkeypatch):
    decoded, plain = [], pyav._frames

    def counted(*args: Any) -> Iterator[av.VideoFrame]:
        for frame in plain(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(pyav, "_frames", counted)
    path = write_video(tmp_path / "clip.mp4", frames=100, gop=5, codec_options={"bf": "0"})
    load_video(path, 4, 16)
    assert len(decoded) <= 4 * 5  # of the 76 up to the last one


def test_a_seek_that_goes_too_far_is_mended(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", noise(60), gop=5)
    wanted, plain = load_video(path, 60, 16).frames, pyav._frames

    def late(container: Any, stream: Any, stamp: int | None = None) -> Iterator[av.VideoFrame]:
        return plain(container, stream, stamp + 12 * 1024 if stamp else stamp)

    monkeypatch.setattr(pyav, "_frames", late)
    assert torch.equal(load_video(path, 7, 16).frames, wanted[uniform_indices(60, 7)])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("suffix", ["mkv", "avi", "flv"])
def test_a_damaged_video_gives_frames_or_a_typed_error(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    path = write_video(tmp_path / f"clip.{suffix}", noise(8), codec="mpeg4" if suffix == "avi" else "libx264")
    data = bytearray(path.read_bytes())
    for position in rng.integers(0, len(data), rng.integers(1, 60)):
        data[position] = rng.integers(256)
    path.write_bytes(data)
    try:
        video = load_video(path, 8, 16)
    except VideoError:
        return
    assert len(video.frames) == len(video.seconds) > 0
