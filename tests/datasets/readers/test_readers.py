"""Both readers of videos give the same frames, seconds and pixels, and PyAV reads where decord cannot be imported."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.videos import write_video

from timechat.datasets import readers
from timechat.datasets.video import Video, load_video

GOLDEN_CLIP = Path(__file__).parents[2] / "golden" / "preprocess" / "clip.mp4"
# As FFmpeg writes them for a video that a player turns clockwise by so many degrees.
MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}

needs_both = pytest.mark.skipif(len(readers.READERS) < 2, reason="decord cannot be imported")


def noise(count: int = 12) -> np.ndarray:
    """Frames on which every way of scaling shows: uint8 [T, 48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


def turn(path: Path, degrees: int) -> None:
    """Write into an mp4 file that players are to turn it clockwise."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in MATRICES[degrees])
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def with_both(monkeypatch: pytest.MonkeyPatch, path: Path, **options: int | None) -> list[Video]:
    """A video as each reader reads it."""
    videos = []
    for name in ("decord", "pyav"):
        monkeypatch.setattr(readers, "READER", name)
        videos.append(load_video(path, **options))
    return videos


def assert_same(first: Video, second: Video, last_frame: float = 0.0) -> None:
    """To the last bit on x86-64, where both scale with the same instructions; elsewhere to a rounding."""
    assert (first.seconds, first.fps) == (second.seconds, second.fps)
    assert abs(first.duration - second.duration) <= last_frame
    assert first.frames.is_contiguous()
    assert second.frames.is_contiguous()
    difference = (first.frames.int() - second.frames.int()).abs().max()
    assert difference <= (0 if platform.machine() in ("x86_64", "AMD64") else 2)


@needs_both
@pytest.mark.parametrize("image_size", [224, 50, 16, None])
@pytest.mark.parametrize("n_frms", [5, 96])
def test_both_readers_agree_on_the_published_clip(monkeypatch, image_size, n_frms):
    assert_same(*with_both(monkeypatch, GOLDEN_CLIP, n_frms=n_frms, image_size=image_size))


@needs_both
@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"x264-params": "open-gop=1:bframes=3"}),
        ("mkv", "libx265", {"x265-params": "log-level=error"}),
        ("webm", "libvpx-vp9", {}),
        ("avi", "mpeg4", {}),
        ("mov", "mpeg4", {}),
    ],
)
def test_both_readers_agree_on_every_codec(tmp_path, monkeypatch, suffix, codec, options):
    path = write_video(tmp_path / f"clip.{suffix}", noise(40), codec=codec, codec_options=options, gop=12)
    assert_same(*with_both(monkeypatch, path, n_frms=9, image_size=56))


@needs_both
@pytest.mark.parametrize("times", [[0.0, 0.05, 0.15, 1.0, 2.35, 4.0], [1.0, 1.05, 1.25, 2.0, 3.0, 4.0]])
def test_both_readers_agree_on_a_variable_rate(tmp_path, monkeypatch, times):
    path = write_video(tmp_path / "variable.mp4", noise(6), times=times)
    # How long the last frame lasts is an estimate, and the readers bring FFmpeg in different versions.
    assert_same(*with_both(monkeypatch, path, image_size=32), last_frame=times[-1] / 5)


@pytest.mark.parametrize("reader", readers.READERS)
@pytest.mark.parametrize("image_size", [32, None])
@pytest.mark.parametrize("degrees", MATRICES)
def test_a_video_that_was_filmed_on_its_side_is_turned_upright(tmp_path, monkeypatch, reader, image_size, degrees):
    dark_above = np.full((4, 48, 64, 3), 40, np.uint8)
    dark_above[:, 24:] = 200
    path = write_video(tmp_path / "clip.mp4", dark_above)
    turn(path, degrees)
    monkeypatch.setattr(readers, "READER", reader)
    picture = load_video(path, 1, image_size).frames[0, 0].float()
    assert picture.shape == ((32, 32) if image_size else (48, 64) if degrees == 180 else (64, 48))
    columns, rows = picture.mean(0), picture.mean(1)
    first, last = {90: (columns[-1], columns[0]), 180: (rows[-1], rows[0]), 270: (columns[0], columns[-1])}[degrees]
    assert first < 60
    assert last > 180


@needs_both
@pytest.mark.parametrize("image_size", [32, None])
@pytest.mark.parametrize("degrees", MATRICES)
def test_both_readers_turn_alike(tmp_path, monkeypatch, image_size, degrees):
    path = write_video(tmp_path / "clip.mp4", noise())
    turn(path, degrees)
    assert_same(*with_both(monkeypatch, path, n_frms=5, image_size=image_size))


WITHOUT_DECORD = """
import sys
sys.modules["decord"] = None  # importing it now raises ImportError
from pathlib import Path
import torch
from timechat.datasets import readers
from timechat.datasets.video import load_video
from timechat.evaluation.frames import decoded
from timechat.evaluation.sharding import Clip

path = Path(sys.argv[1])
assert list(readers.READERS) == ["pyav"] and readers.READER == "pyav"
torch.save(load_video(path, 6, 32).frames, sys.argv[2])
clips = [Clip(name, None, None, None, ()) for name in (path.name, "missing.mp4")]
results = dict(decoded(clips, path.parent, num_frames=6, image_size=32, num_workers=1))
torch.save(results[clips[0]].frames, sys.argv[3])
print(type(results[clips[1]]).__name__)
"""


def test_without_decord_pyav_reads_for_training_and_evaluation(tmp_path):
    path = write_video(tmp_path / "clip.mp4", noise())
    files = [str(tmp_path / name) for name in ("read.pt", "decoded.pt")]
    command = [sys.executable, "-c", WITHOUT_DECORD, str(path), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "VideoError\n"), done.stderr
    wanted = load_video(path, 6, 32).frames
    for file in files:
        frames = torch.load(file)
        assert frames.shape == (6, 3, 32, 32)
        assert (frames.int() - wanted.int()).abs().max() <= 2
