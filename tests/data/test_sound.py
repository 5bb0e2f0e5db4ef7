"""The sound of videos: at 16 kHz, one channel, and on the clock of the frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.videos import write_video

from timechat.data.sound import RATE, sound_of
from timechat.errors import VideoError

PIECE = 1024


def write_sound(path: Path, begins: float = 0.0, gap: float = 0.0, seconds: float = 2.0, rate: int = 44_100) -> Path:
    """A video whose sound is a tone in its second second, in stereo; frames of sound may be missing before it.

    Args:
        path: where.
        begins: seconds by which the sound begins later than the picture.
        gap: seconds without packets after the first second.
        seconds: of sound.
        rate: samples a second.
    """
    wave = np.zeros(int(seconds * rate), dtype=np.float32)
    wave[rate : 2 * rate] = np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)
    return write_wave(path, wave, rate, begins, gap)


def write_wave(path: Path, samples: np.ndarray, rate: int, begins: float = 0.0, gap: float = 0.0) -> Path:
    """A video with this sound, float32 [N], on both channels; `begins` and `gap` as above."""
    wave, seconds = np.repeat(samples, 2)[None], len(samples) / rate
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10)
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=rate)
        sound.layout = "stereo"
        for number in range(int(10 * (begins + gap + seconds))):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        for first in range(0, wave.shape[1] // 2, PIECE):
            piece = av.AudioFrame.from_ndarray(wave[:, 2 * first : 2 * (first + PIECE)], format="flt", layout="stereo")
            late = begins + (gap if first > rate - PIECE else 0.0)
            piece.sample_rate, piece.time_base, piece.pts = rate, Fraction(1, rate), first + round(late * rate)
            container.mux(sound.encode(piece))
        container.mux(sound.encode())
    return path


def tone_of(samples: np.ndarray) -> tuple[float, float]:
    """Where it sounds, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    return loud[0] / RATE, loud[-1] / RATE


@pytest.mark.parametrize("rate", [44_100, 16_000, 48_000])
def test_sound_is_resampled(tmp_path: Path, rate: int) -> None:
    sound = sound_of(write_sound(tmp_path / "v.mkv", rate=rate))
    assert sound.start == 0.0
    assert sound.samples.dtype == np.float32
    assert len(sound.samples) == pytest.approx(2 * RATE, abs=200)
    assert tone_of(sound.samples) == (pytest.approx(1.0, abs=0.01), pytest.approx(2.0, abs=0.02))
    assert np.abs(sound.samples).max() == pytest.approx(1.0, abs=0.05)


def test_sound_that_begins_later(tmp_path: Path) -> None:
    sound = sound_of(write_sound(tmp_path / "v.mkv", begins=1.5))
    assert sound.start == pytest.approx(1.5, abs=0.03)
    assert tone_of(sound.samples)[0] == pytest.approx(1.0, abs=0.03)


def test_missing_sound_is_silence(tmp_path: Path) -> None:
    sound = sound_of(write_sound(tmp_path / "v.mkv", gap=3.0))
    assert len(sound.samples) == pytest.approx(5 * RATE, abs=600)
    assert tone_of(sound.samples) == (pytest.approx(4.0, abs=0.05), pytest.approx(5.0, abs=0.05))


def test_no_sound(tmp_path: Path) -> None:
    assert sound_of(write_video(tmp_path / "v.mp4")) is None


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"v\.mp4: cannot be decoded"):
        sound_of(tmp_path / "v.mp4")
    with pytest.raises(VideoError, match=r"v\.mp4"):
        sound_of(tmp_path / "none" / "v.mp4")
