"""The header check: the same numbers as a look at all packets, and the same refusals; decoding finds damage inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.timed_videos import OPEN, X264, copy_packets, shifted, write_edit_list, write_numbered
from helpers.videos import write_video

from timechat.datasets.readers import header
from timechat.datasets.readers.guard import check_video
from timechat.datasets.readers.header import decode_all, read_header
from timechat.datasets.readers.look import look_at
from timechat.errors import VideoError


def encoded(suffix: str, codec: str = "libx264", **options: str) -> Callable[[Path], Path]:
    return lambda folder: write_numbered(folder / f"a.{suffix}", codec=codec, codec_options=options)


def trimmed(folder: Path) -> Path:
    path = encoded("mp4", **X264)(folder)
    write_edit_list(path, length_s=2.5)
    return path


def late(folder: Path) -> Path:
    return copy_packets(encoded("mp4", **X264)(folder), folder / "late.mp4", shifted(2.0), audio_s=3)


KINDS = {
    "mp4": encoded("mp4", **X264),
    "open groups": encoded("mp4", **OPEN),
    "mkv": encoded("mkv", **X264),
    "flv": encoded("flv", **X264),
    "webm": encoded("webm", "libvpx-vp9"),
    "avi": encoded("avi", "mpeg4"),
    "sound first": late,
    "trimmed by an edit list": trimmed,
    "one frame": lambda folder: write_video(folder / "one.mp4", frames=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_all_packets_say(tmp_path: Path, kind: str) -> None:
    path = str(KINDS[kind](tmp_path))
    look, found, decoded = look_at(path), read_header(path), decode_all(path)
    for what in (found, decoded):
        assert (what.begin, what.seconds) == pytest.approx((look.spans()[0, 0], look.spans()[-1, 1]), abs=0.05)
        assert what.fps == pytest.approx(look.fps, abs=0.1)
        assert (what.width, what.height) == ((64, 48) if kind == "one frame" else (80, 48))
    assert decoded.frames == len(look.stamps)
    assert found.frames == len(look.stamps) or kind == "trimmed by an edit list"


def test_a_plain_file_is_not_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = KINDS["mp4"](tmp_path)
    monkeypatch.setattr(header, "look_at", None)
    assert read_header(str(path)).frames == 48


def cut(folder: Path) -> Path:
    path = write_video(folder / "cut.mp4", frames=40, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    return path


def cut_index(folder: Path) -> Path:
    path = write_video(folder / "cut.mp4", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    return path


def cut_mkv(folder: Path) -> Path:
    path = write_video(folder / "cut.mkv", frames=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text(folder: Path) -> Path:
    (folder / "a.mp4").write_text("<html>not found</html>")
    return folder / "a.mp4"


@pytest.mark.parametrize("make", [cut, cut_index, cut_mkv, text])
@pytest.mark.parametrize("check", [read_header, decode_all])
def test_what_training_refuses_is_refused(tmp_path: Path, make: Callable[[Path], Path], check: Any) -> None:
    path = str(make(tmp_path))
    with pytest.raises(VideoError) as trained:
        look_at(path)
    with pytest.raises(VideoError) as checked:
        check(path)
    assert checked.value.reason == trained.value.reason


def test_damage_inside_is_found_by_decoding_alone(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", codec_options=X264)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + len(content) // 3
    content[begin : begin + 400] = bytes(400)
    path.write_bytes(content)
    assert read_header(str(path)).frames == 48
    with pytest.raises(VideoError, match=r"of 48 frames are damaged"):
        decode_all(str(path))


def test_the_child_answers_the_same(tmp_path: Path) -> None:
    path = str(KINDS["mp4"](tmp_path))
    for how, check in (("header", read_header), ("decode", decode_all)):
        assert check_video(path, how, 60.0) == check(path)
    with pytest.raises(VideoError, match="damaged, truncated or not a video"):
        check_video(str(text(tmp_path)), "header", 60.0)
