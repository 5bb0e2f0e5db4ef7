"""What a file is, by its first bytes: only what is sure to be a self-contained video or picture is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.videos import write_video
from PIL import Image

from timechat.app.server.containers import NEEDED, suffix_of


@pytest.mark.parametrize(
    ("name", "suffix", "codec"),
    [
        ("v.mp4", ".mp4", "libx264"),
        ("v.mov", ".mp4", "libx264"),
        ("v.mkv", ".mkv", "libx264"),
        ("v.webm", ".mkv", "libvpx-vp9"),
        ("v.avi", ".avi", "mpeg4"),
        ("v.ts", ".ts", "libx264"),
        ("v.m2ts", ".ts", "libx264"),
        ("v.flv", ".flv", "libx264"),
        ("v.mpg", ".mpg", "mpeg2video"),
        ("v.wmv", ".wmv", "mpeg4"),
    ],
)
def test_videos(tmp_path: Path, name: str, suffix: str, codec: str) -> None:
    begin = write_video(tmp_path / name, fps=25, codec=codec).read_bytes()[:NEEDED]
    assert suffix_of("video", begin) == suffix
    assert suffix_of("image", begin) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif"])
def test_images(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"i{suffix}"
    Image.new("RGB", (8, 8)).save(file)
    assert suffix_of("image", file.read_bytes()) == suffix


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>",
        b"[playlist]\nFile1=http://10.0.0.1/\n",
        b"<html>",
        b"G" + b"\0" * 400,
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_files_that_may_lead_elsewhere_are_not_opened(begin: bytes) -> None:
    assert suffix_of("video", begin) is None
    assert suffix_of("image", begin) is None
