"""What only matters when reading with PyAV: seeking, damage, frames out of order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from helpers.timed_videos import OPEN_HEVC, copy_packets, number_of, player_times, write_numbered
from helpers.videos import write_video

from timechat.datasets.readers import ReaderSettings, pyav
from timechat.datasets.video import load_video, uniform_indices
from timechat.errors import VideoError

HERE = ReaderSettings("pyav", timeout_s=None)


def noise(count: int) -> np.ndarray:
    """Frames that take many bytes: uint8 [T, 48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The timestamps of the frames that are decoded."""
    stamps, plain = [], pyav.Display._decoded

    def counted(display: Any) -> Any:
        for frame in plain(display):
            stamps.append(frame.pts)
            yield frame

    monkeypatch.setattr(pyav.Display, "_decoded", counted)
    return stamps


def test_a_file_that_is_cut_short_is_refused_before_its_end_is_decoded(tmp_path):
    """Otherwise a video would be taken for a shorter one."""
    path = write_video(tmp_path / "clip.mp4", noise(20), faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"its end is missing: frame 1. is incomplete"):
        load_video(path, 1, 16, settings=HERE)


@pytest.mark.parametrize(("codec", "options"), [("libx264", {"bf": "0"}), ("libx265", OPEN_HEVC)])
def test_seeking_leaves_out_what_nobody_asked_for(tmp_path, decoded, codec, options):
    """Also where groups of pictures are open: hours would be decoded for a few frames."""
    path = write_numbered(tmp_path / "clip.mp4", count=400, codec=codec, gop=12, codec_options=options)
    video = load_video(path, 4, 56, settings=HERE)
    assert [number_of(picture.permute(1, 2, 0).numpy()) for picture in video.frames] == [0, 100, 200, 300]
    assert len(decoded) <= 4 * 24  # of the 301 up to the last one


def test_neighbours_are_decoded_in_one_go(tmp_path, decoded):
    path = write_numbered(tmp_path / "clip.mp4")
    load_video(path, 48, 16, settings=HERE)
    assert len(decoded) == 48


def test_a_seek_that_goes_too_far_is_mended(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", noise(120), gop=5)
    wanted, plain = load_video(path, 120, 16, settings=HERE).frames, pyav.Display._seek
    monkeypatch.setattr(pyav.Display, "_seek", lambda display, stamp: plain(display, stamp + 12 * 1024))
    assert torch.equal(load_video(path, 5, 16, settings=HERE).frames, wanted[uniform_indices(120, 5)])


def test_a_file_that_cannot_be_entered_in_the_middle_is_read_from_its_beginning(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", noise(120), gop=5)
    wanted = load_video(path, 120, 16, settings=HERE).frames
    monkeypatch.setattr(pyav.Display, "_seek", lambda display, stamp: False)
    assert torch.equal(load_video(path, 5, 16, settings=HERE).frames, wanted[uniform_indices(120, 5)])


def test_what_cannot_be_decoded_is_replaced_by_what_stays_on_display(tmp_path, caplog):
    """Each frame keeps its own time, none comes twice, and the log says how many are lost."""
    source = write_numbered(tmp_path / "whole.mp4", codec_options={"bf": "0"})

    def spoil(number: int, packet: Any) -> list[Any]:
        if 14 <= number < 20:
            data = bytearray(bytes(packet))
            data[5:] = bytes(len(data) - 5)
            spoilt = av.Packet(bytes(data))
            spoilt.pts, spoilt.dts, spoilt.time_base = packet.pts, packet.dts, packet.time_base
            return [spoilt]
        return [packet]

    path = copy_packets(source, tmp_path / "spoilt.mp4", spoil)
    video, shown = load_video(path, 48, 56), player_times(source)
    assert len(video.seconds) < 48
    assert len(set(video.seconds)) == len(video.seconds)
    numbers = [number_of(picture.permute(1, 2, 0).numpy()) for picture in video.frames]
    for number, second in zip(numbers, video.seconds, strict=True):
        if not 1.4 <= second < 2.4:  # there players show what is left of it
            assert second == pytest.approx(shown[number][0])
    assert f"{48 - len(numbers)} of 48 sampled frames cannot be decoded" in caplog.text


def test_a_file_of_which_little_is_left_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mp4", noise(20), codec_options={"bf": "0"}, gop=20)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 2000
    data[start : start + 20000] = bytes(20000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"frames are left of it|no frame of it can be decoded"):
        load_video(path, 20, 16, settings=HERE)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("suffix", ["mkv", "avi", "flv"])
def test_a_damaged_video_gives_frames_or_a_typed_error(tmp_path: Path, suffix: str, seed: int) -> None:
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
    assert np.all(np.diff(video.seconds) > 0)
