"""Both readers of videos give the same frames, seconds and pixels, and PyAV reads where decord cannot be imported."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.timed_videos import write_matrix
from helpers.videos import write_video

from timechat.datasets.readers import HAS_DECORD, ReaderSettings
from timechat.datasets.readers.look import look_at
from timechat.datasets.readers.pyav import PyAVReader
from timechat.datasets.video import load_video, uniform_indices

GOLDEN_CLIP = Path(__file__).parents[2] / "golden" / "preprocess" / "clip.mp4"
# As FFmpeg writes them for a video that a player turns clockwise by so many degrees, or mirrors.
TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
MIRRORS = {
    "left to right": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "both axes": (0, 1, 1, 0),
    "other axes": (0, -1, -1, 0),
}

needs_both = pytest.mark.skipif(not HAS_DECORD, reason="decord cannot be imported")


def noise(count: int = 12) -> np.ndarray:
    """Frames on which every way of scaling shows: uint8 [T, 48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


def assert_same(path: Path, n_frms: int, image_size: int | None) -> None:
    """To the last bit on x86-64, where both scale with the same instructions; elsewhere to a rounding."""
    from timechat.datasets.readers.decord import DecordReader

    look = look_at(str(path))
    first, second = DecordReader(str(path), image_size, look), PyAVReader(str(path), image_size, look)
    assert first.fps == second.fps
    indices = uniform_indices(len(look.stamps), n_frms)
    frames = []
    for reader in (first, second):
        pictures, shown = reader.read(indices)
        assert shown == indices
        assert pictures.flags["C_CONTIGUOUS"]
        frames.append(pictures.astype(int))
    assert np.abs(frames[0] - frames[1]).max() <= (0 if platform.machine() in ("x86_64", "AMD64") else 2)


@needs_both
@pytest.mark.parametrize("image_size", [224, 50, 16, None])
@pytest.mark.parametrize("n_frms", [5, 96])
def test_both_readers_agree_on_the_published_clip(image_size, n_frms):
    assert_same(GOLDEN_CLIP, n_frms, image_size)


@needs_both
@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mkv", "libx265", {"x265-params": "log-level=error:open-gop=0"}),
        ("webm", "libvpx-vp9", {}),
        ("avi", "mpeg4", {}),
        ("mov", "mpeg4", {}),
    ],
)
def test_both_readers_agree_on_every_codec(tmp_path, suffix, codec, options):
    """Also where decord is not proven right for all files of a codec: PyAV takes over, with the same pixels."""
    path = write_video(tmp_path / f"clip.{suffix}", noise(40), codec=codec, codec_options=options, gop=12)
    assert_same(path, 9, 56)


@needs_both
@pytest.mark.parametrize("times", [[0.0, 0.05, 0.15, 1.0, 2.35, 4.0], [1.0, 1.05, 1.25, 2.0, 3.0, 4.0]])
def test_both_readers_agree_on_a_variable_rate(tmp_path, times):
    assert_same(write_video(tmp_path / "variable.mp4", noise(6), times=times), 6, 32)


@pytest.mark.parametrize("reader", ["auto", "pyav"])
@pytest.mark.parametrize("image_size", [32, None])
@pytest.mark.parametrize("degrees", TURNS)
def test_a_video_that_was_filmed_on_its_side_is_turned_upright(tmp_path, reader, image_size, degrees):
    dark_above = np.full((4, 48, 64, 3), 40, np.uint8)
    dark_above[:, 24:] = 200
    path = write_video(tmp_path / "clip.mp4", dark_above)
    write_matrix(path, TURNS[degrees])
    picture = load_video(path, 1, image_size, settings=ReaderSettings(reader)).frames[0, 0].float()
    assert picture.shape == ((32, 32) if image_size else (48, 64) if degrees == 180 else (64, 48))
    columns, rows = picture.mean(0), picture.mean(1)
    first, last = {90: (columns[-1], columns[0]), 180: (rows[-1], rows[0]), 270: (columns[0], columns[-1])}[degrees]
    assert first < 60
    assert last > 180


@pytest.mark.parametrize("image_size", [32, None])
@pytest.mark.parametrize("mirror", MIRRORS)
def test_a_mirrored_video_is_shown_as_players_show_it(tmp_path, image_size, mirror):
    """One corner is dark: (x, y) of the file is at (a x + c y, b x + d y)."""
    pictures = np.full((2, 48, 64, 3), 200, np.uint8)
    pictures[:, :24, :32] = 40
    path = write_video(tmp_path / "clip.mp4", pictures)
    a, b, c, d = MIRRORS[mirror]
    write_matrix(path, (a, b, c, d))
    picture = load_video(path, 1, image_size).frames[0, 0].float()
    height, width = picture.shape
    right, below = a + c < 0, b + d < 0  # where the corner, which has the smallest x and y, goes
    dark = picture[height // 2 * below :][: height // 2, width // 2 * right :][:, : width // 2]
    assert dark.mean() < 70
    assert picture.mean() > 140


@needs_both
@pytest.mark.parametrize("image_size", [32, None])
@pytest.mark.parametrize("degrees", TURNS)
def test_both_readers_turn_alike(tmp_path, image_size, degrees):
    path = write_video(tmp_path / "clip.mp4", noise())
    write_matrix(path, TURNS[degrees])
    assert_same(path, 5, image_size)


WITHOUT_DECORD = """
import sys
sys.path.insert(0, sys.argv[1])  # holds a decord that cannot be imported
from pathlib import Path
import torch
from timechat.datasets import readers
from timechat.datasets.video import load_video
from timechat.errors import ConfigError
from timechat.evaluation.frames import decoded
from timechat.evaluation.sharding import Clip

path = Path(sys.argv[2])
assert not readers.HAS_DECORD
assert readers.open_video(str(path), 32).how == "PyAV"
torch.save(load_video(path, 6, 32).frames, sys.argv[3])
clips = [Clip(name, None, None, None, ()) for name in (path.name, "missing.mp4")]
results = dict(decoded(clips, path.parent, num_frames=6, image_size=32, num_workers=1))
torch.save(results[clips[0]].frames, sys.argv[4])
print(type(results[clips[1]]).__name__)
try:
    load_video(path, 6, 32, settings=readers.ReaderSettings("decord"))
except ConfigError as error:
    print(str(error)[:58])
"""


def test_without_decord_pyav_reads_for_training_and_evaluation(tmp_path):
    path = write_video(tmp_path / "clip.mp4", noise())
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "decord.py").write_text("raise ImportError('no wheel')")
    files = [str(tmp_path / name) for name in ("read.pt", "decoded.pt")]
    command = [sys.executable, "-c", WITHOUT_DECORD, str(tmp_path / "without"), str(path), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = "VideoError\nmodel.video_reader=decord: decord cannot be imported on th\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
    wanted = load_video(path, 6, 32).frames
    for file in files:
        frames = torch.load(file)
        assert frames.shape == (6, 3, 32, 32)
        assert (frames.int() - wanted.int()).abs().max() <= 2
