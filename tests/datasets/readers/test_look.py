"""What a look at the packets finds, what is kept of it, and why files without frames are refused."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.timed_videos import OPEN, X264, copy_packets, cut_from, shifted, write_matrix, write_numbered
from omegaconf import OmegaConf
from PIL import Image

from timechat.datasets.readers import ReaderSettings, local, look_cache, open_video
from timechat.datasets.readers.look import Look, look_at
from timechat.errors import VideoError


def mp4(folder: Path, **options: Any) -> Path:
    return write_numbered(folder / "clip.mp4", **{"codec_options": X264, **options})


def mirrored(folder: Path) -> Path:
    path = mp4(folder)
    write_matrix(path, (-1, 0, 0, 1))
    return path


def with_other_sizes(folder: Path) -> Path:
    """Key frames whose parameter sets differ, as where recordings of two cameras were joined."""

    def change(number: int, packet: Any) -> list[Any]:
        if number in (0, 12):
            unit = b"\x67" + bytes([number]) + b"\x01\x02"
            joined = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
            joined.pts, joined.dts, joined.duration = packet.pts, packet.dts, packet.duration
            joined.time_base, joined.is_keyframe = packet.time_base, True
            return [joined]
        return [packet]

    return copy_packets(mp4(folder), folder / "joined.mp4", change)


@pytest.mark.parametrize(
    ("make", "doubt"),
    [
        (mp4, None),
        (lambda folder: mp4(folder, codec="mpeg4", codec_options={}), None),
        (lambda folder: copy_packets(mp4(folder), folder / "late.mp4", shifted(2.0), audio_s=3), None),
        (lambda folder: mp4(folder, codec="mpeg4", codec_options={"bf": "2"}), "MPEG-4 with B-frames"),
        (lambda folder: mp4(folder, codec_options=OPEN), "3 key frames depend on frames before them"),
        (lambda folder: mp4(folder, codec="libvpx-vp9", codec_options={}), "not been proven right for vp9"),
        (lambda folder: write_numbered(folder / "clip.avi", codec="mpeg4"), "not been proven right for avi"),
        (lambda folder: copy_packets(mp4(folder), folder / "cut.mp4", cut_from(1.5, 12)), "3 packets are cut away"),
        (
            lambda folder: mp4(folder, count=5, times=[0, 0.1, 0.2, 0.5, 0.6]),
            "frames are missing, or the frame rate varies",
        ),
        (mirrored, "it is to be shown mirrored"),
        (with_other_sizes, "size or format change in the middle"),
    ],
)
def test_decord_is_doubted_for_the_right_reason(
    tmp_path: Path, make: Callable[[Path], Path], doubt: str | None
) -> None:
    doubts = look_at(str(make(tmp_path))).doubts
    assert (doubts == ()) if doubt is None else any(doubt in reason for reason in doubts)


def test_a_packet_without_a_time_is_left_out(tmp_path):
    """Matroska drops the decoding times, and what cannot be worked out from them has no time."""
    options = {"avoid_negative_ts": "disabled"}
    path = copy_packets(mp4(tmp_path), tmp_path / "cut.mkv", shifted(-1.0), options)
    look = look_at(str(path))
    assert any("have no time" in doubt for doubt in look.doubts)
    assert look.stamps.min() >= 0


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are looked at."""
    taken = []

    def counted(name: str) -> Look:
        taken.append(name)
        return look_at(name)

    monkeypatch.setattr(local, "look_at", counted)
    monkeypatch.setattr(look_cache, "look_at", counted)
    return taken


def test_a_process_looks_once_at_a_file_until_it_changes(tmp_path, looks):
    path, here = str(mp4(tmp_path)), ReaderSettings(timeout_s=None)
    first, again = open_video(path, 16, here), open_video(path, 32, here)
    assert looks == [path]
    assert np.array_equal(first.spans, again.spans)
    mp4(tmp_path, count=20)
    assert len(open_video(path, 16, here).spans) == 20
    assert looks == [path, path]


def test_looks_on_disk_serve_other_processes(tmp_path, looks):
    path, folder = str(mp4(tmp_path, codec_options=OPEN)), tmp_path / "cache" / "looks"
    here = ReaderSettings(timeout_s=None, looks_dir=str(folder))
    first = open_video(path, 16, here)
    local._look.cache_clear()  # as in another process
    second = open_video(path, 16, here)
    assert looks == [path]
    assert np.array_equal(first.spans, second.spans)
    assert (first.fps, first.how) == (second.fps, second.how)
    assert np.array_equal(first.read([0, 20])[0], second.read([0, 20])[0])


def test_kept_looks_are_exact_and_small(tmp_path):
    """Times of a recording that skips frames, and of an hour at a constant rate."""
    rate = np.arange(90_000, dtype=np.int64) * 1001
    uneven = np.cumsum(np.random.default_rng(0).integers(1, 5000, 500))
    for number, stamps in enumerate((rate, uneven, uneven[:1])):
        look = Look(stamps, np.full(len(stamps), 1001), stamps[:0], Fraction(1, 30_000), 0.5, 29.97, False, ("a", "b"))
        entry = look_cache.entry_of("v.mp4", number, 0, str(tmp_path))
        look_cache._write(entry, look)
        read = look_cache._read(entry)
        for name in ("stamps", "durations", "keys"):
            assert np.array_equal(getattr(read, name), getattr(look, name))
            assert getattr(read, name).dtype == np.int64
        assert (read.tick, read.start, read.fps, read.doubts) == (look.tick, 0.5, 29.97, ("a", "b"))
    assert look_cache.entry_of("v.mp4", 0, 0, str(tmp_path)).stat().st_size < 3000


def test_configs_keep_looks_in_the_users_folder_for_caches_by_default(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    model = OmegaConf.create({"video_reader": "auto", "video_timeout_s": None, "looks_dir": None})
    assert ReaderSettings.of(model).looks_dir == "/caches/timechat/looks"
    assert ReaderSettings.of(model, looks_dir="cache/looks").looks_dir == "cache/looks"
    model.looks_dir = "~/looks"
    assert ReaderSettings.of(model).looks_dir == os.path.expanduser("~/looks")
    model.looks_dir = ""
    assert ReaderSettings.of(model).looks_dir == ""


def test_a_damaged_look_is_taken_again_and_an_unwritable_folder_does_no_harm(tmp_path, looks):
    path, folder = str(mp4(tmp_path)), tmp_path / "looks"
    here = ReaderSettings(timeout_s=None, looks_dir=str(folder))
    wanted = open_video(path, 16, here).spans
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:-30])
    local._look.cache_clear()
    assert np.array_equal(open_video(path, 16, here).spans, wanted)
    assert looks == [path, path]
    nowhere = ReaderSettings(timeout_s=None, looks_dir=os.fspath(tmp_path / "clip.mp4"))
    assert np.array_equal(open_video(path, 16, nowhere).spans, wanted)


# What is refused ------------------------------------------------------------------------------------------------------


def sound(folder: Path) -> Path:
    with av.open(str(folder / "sound.mp3"), "w") as container:
        stream = container.add_stream("libmp3lame", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return folder / "sound.mp3"


def sound_with_cover(folder: Path) -> Path:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    body = b"\0image/jpeg\0\3\0" + picture.getvalue()
    entry = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes((len(entry) >> shift) & 127 for shift in (21, 14, 7, 0))
    path = folder / "cover.mp3"
    path.write_bytes(b"ID3\3\0\0" + size + entry + sound(folder).read_bytes())
    return path


def unknown_codec(folder: Path) -> Path:
    path = mp4(folder)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xvc1"))
    return path


def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("no video at all\n" * 50)
    return folder / "notes.txt"


def nonsense(folder: Path) -> Path:
    (folder / "clip.mp4").write_bytes(np.random.default_rng(0).bytes(1000))
    return folder / "clip.mp4"


def list_of_files(folder: Path) -> Path:
    """What FFmpeg would follow to other files, which nobody named."""
    mp4(folder).rename(folder / "other.mp4")
    (folder / "clip.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    return folder / "clip.mp4"


def mkv(folder: Path, later_s: float = 0.0, audio_s: float = 0.0) -> Path:
    return copy_packets(mp4(folder), folder / "clip.mkv", shifted(later_s), audio_s=audio_s)


def half_an_mkv(folder: Path) -> Path:
    path = mkv(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def mkv_with_a_damaged_place(folder: Path) -> Path:
    path = mkv(folder)
    data, half = bytearray(path.read_bytes()), path.stat().st_size // 2
    data[half : half + 40] = bytes(byte ^ 0x5A for byte in data[half : half + 40])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (list_of_files, "contains a list of files"),
        (half_an_mkv, "its end is missing, or it is damaged: it stops at"),
        (mkv_with_a_damaged_place, " of 4.8 s)"),
        (sound, "contains no video, only audio. Name a video file"),
        (sound_with_cover, "contains no video, only sound with a cover picture"),
        (unknown_codec, "this FFmpeg has no decoder for its codec. Re-encode it as H.264"),
        (text, "contains text"),
        (nonsense, "the file is damaged, truncated or not a video"),
        (lambda folder: write_numbered(folder / "raw.h264"), "its frames have no times, as in a raw stream"),
    ],
)
def test_the_real_reason_is_named(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    path = make(tmp_path)
    with pytest.raises(VideoError) as caught:
        look_at(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("how", [{"later_s": 100.0}, {"audio_s": 30.0}, {"later_s": 10.0, "audio_s": 12.0}])
def test_a_whole_mkv_is_not_taken_for_one_without_its_end(tmp_path, how):
    """Its duration is that of the longest stream, and counts from zero where the file begins later."""
    assert len(look_at(str(mkv(tmp_path, **how))).stamps) == 48


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def denied(name: str) -> None:
        raise av.error.PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(av, "open", denied)
    with pytest.raises(VideoError, match=r"may not be read \(permission denied\)\. Change its permissions"):
        look_at(str(tmp_path / "clip.mp4"))
