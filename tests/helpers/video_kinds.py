"""Small videos of numbered pictures in every kind of file that users have: containers, codecs, cuts, losses."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from helpers.timed_videos import (
    OPEN,
    OPEN_HEVC,
    X264,
    copy_packets,
    cut_from,
    numbered_pictures,
    shifted,
    write_edit_list,
    write_numbered,
)

Make = Callable[[Path], Path]
CLOSED_HEVC = {"x265-params": "open-gop=0:bframes=3:keyint=12:min-keyint=12:log-level=error"}
B_FRAMES = {"bf": "2"}
NO_B_FRAMES = {"bf": "0"}


def encoded(suffix: str, codec: str, codec_options: dict[str, str] | None = None, **options: Any) -> Make:
    return lambda folder: write_numbered(
        folder / f"encoded.{suffix}", codec=codec, codec_options=codec_options or {}, **options
    )


def trimmed(**part: float) -> Make:
    def make(folder: Path) -> Path:
        path = encoded("mp4", "libx264", X264)(folder)
        write_edit_list(path, **part)
        return path

    return make


def copied(source: Make, suffix: str, change: Callable[..., Any], **how: Any) -> Make:
    return lambda folder: copy_packets(source(folder), folder / f"copied.{suffix}", change, **how)


def unchanged(number: int, packet: Any) -> list[Any]:
    return [packet]


def without(*numbers: int) -> Callable[..., Any]:
    return lambda number, packet: [] if number in numbers else [packet]


def in_pairs(number: int, packet: Any) -> list[Any]:
    """Every second frame has the time of the one before."""
    if number % 2:
        packet.pts = packet.dts = packet.pts - round(Fraction(1, 10) / packet.time_base)
    return [packet]


def gif(folder: Path) -> Path:
    pictures = [Image.fromarray(picture) for picture in numbered_pictures(30)]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    return folder / "a.gif"


def two_streams(order: int) -> Make:
    """A short one and a long one; players show the long one."""

    def make(folder: Path) -> Path:
        long = write_numbered(folder / "long.mp4", codec_options=X264)
        short = write_numbered(folder / "short.mp4", count=20, codec_options=X264)
        sources = [long, short] if order else [short, long]
        with av.open(str(folder / "two.mp4"), "w") as new:
            opened = [av.open(str(source)) for source in sources]
            streams = [new.add_stream_from_template(old.streams.video[0]) for old in opened]
            for old, stream in zip(opened, streams, strict=True):
                for packet in old.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        new.mux(packet)
        return folder / "two.mp4"

    return make


CLOSED_MP4, OPEN_MP4 = encoded("mp4", "libx264", X264), encoded("mp4", "libx264", OPEN)
HEVC_MP4, PLAIN_MP4 = encoded("mp4", "libx265", OPEN_HEVC), encoded("mp4", "libx264", NO_B_FRAMES)
JUMPS = [i / 10 + (0.37 if i > 20 else 0) for i in range(48)]
SLOWER = [0.005 * i * i for i in range(48)]

KINDS: dict[str, Make] = {
    "H.264 in mp4": CLOSED_MP4,
    "H.264 in mkv": encoded("mkv", "libx264", X264),
    "H.264 in flv": encoded("flv", "libx264", X264),
    "H.264 in mpeg-ts": encoded("ts", "libx264", X264),
    "H.264 in m2ts, open": encoded("m2ts", "libx264", OPEN),
    "H.264 interlaced": encoded("mp4", "libx264", {"x264-params": "interlaced=1:keyint=12"}),
    "H.264 intra refresh": encoded("mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "H.264 in fragments": copied(CLOSED_MP4, "mp4", unchanged, options={"movflags": "frag_keyframe+empty_moov"}),
    "open groups": OPEN_MP4,
    "open groups, H.265": HEVC_MP4,
    "H.265": encoded("mp4", "libx265", CLOSED_HEVC),
    "edit list ends before the media": trimmed(length_s=2.5),
    "edit list starts after the media": trimmed(start_s=0.7),
    "edit list cuts on both sides": trimmed(start_s=1.7, length_s=2.0),
    "cut to mp4": copied(CLOSED_MP4, "mp4", cut_from(1.5, 12)),
    "cut to mp4, with sound": copied(CLOSED_MP4, "mp4", cut_from(1.5, 12), audio_s=2),
    "cut to mkv": copied(CLOSED_MP4, "mkv", cut_from(1.5, 12)),
    "cut to mkv, with sound": copied(CLOSED_MP4, "mkv", cut_from(1.5, 12), audio_s=2),
    "cut of open groups to mp4": copied(OPEN_MP4, "mp4", cut_from(1.5, 13)),
    "cut of open groups to mkv": copied(OPEN_MP4, "mkv", cut_from(1.5, 13)),
    "cut of H.265 to mp4": copied(HEVC_MP4, "mp4", cut_from(1.5, 13)),
    "cut of H.265 to mkv": copied(HEVC_MP4, "mkv", cut_from(1.5, 13)),
    "before zero in mkv": copied(CLOSED_MP4, "mkv", shifted(-1.0), options={"avoid_negative_ts": "disabled"}),
    "before zero in mp4": copied(CLOSED_MP4, "mp4", shifted(-1.0), audio_s=2),
    "before zero in flv": copied(CLOSED_MP4, "flv", shifted(-1.0), options={"avoid_negative_ts": "disabled"}),
    "sound first in mp4": copied(CLOSED_MP4, "mp4", shifted(2.0), audio_s=7),
    "sound first in mkv": copied(CLOSED_MP4, "mkv", shifted(2.0), audio_s=7),
    "sound a little first in mp4": copied(CLOSED_MP4, "mp4", shifted(0.045), audio_s=5),
    "sound a little first in mkv": copied(CLOSED_MP4, "mkv", shifted(0.045), audio_s=5),
    "both late": copied(CLOSED_MP4, "mp4", shifted(3.0)),
    "B-frames in avi": encoded("avi", "mpeg4", B_FRAMES),
    "H.264 in avi": encoded("avi", "libx264", X264),
    "MPEG-4 in avi": encoded("avi", "mpeg4"),
    "MPEG-4 in mp4": encoded("mp4", "mpeg4"),
    "MPEG-4 with B-frames in mp4": encoded("mp4", "mpeg4", B_FRAMES),
    "MPEG-1": encoded("mpg", "mpeg1video", B_FRAMES, fps=25),
    "MPEG-2": encoded("mpg", "mpeg2video", B_FRAMES, fps=25),
    "MS MPEG-4": encoded("avi", "msmpeg4"),
    "WMV": encoded("wmv", "wmv2"),
    "Flash": encoded("flv", "flv"),
    "AV1 in mp4": encoded("mp4", "libsvtav1", {"svtav1-params": "preset=10"}),
    "AV1 in mkv": encoded("mkv", "libsvtav1", {"svtav1-params": "preset=10"}),
    "VP8": encoded("webm", "libvpx"),
    "VP8 with hidden frames": encoded("webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "VP8 in ogg": encoded("ogv", "libvpx"),
    "VP9": encoded("webm", "libvpx-vp9"),
    "VP9 with hidden frames": encoded("mkv", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "FFV1": encoded("mkv", "ffv1"),
    "GIF": gif,
    "live webm, without a duration": copied(encoded("webm", "libvpx-vp9"), "webm", unchanged, options={"live": "1"}),
    "live mkv, without a duration": copied(CLOSED_MP4, "mkv", unchanged, options={"live": "1"}),
    "two streams": two_streams(0),
    "two streams, the long one first": two_streams(1),
    "repeated times": copied(PLAIN_MP4, "mkv", in_pairs),
    "lost frames": copied(CLOSED_MP4, "mkv", without(15, 16, 30)),
    "lost frames of open groups": copied(OPEN_MP4, "mkv", without(15, 16, 25, 30)),
    "a lost key frame": copied(CLOSED_MP4, "mp4", without(12)),
    "lost first frames": copied(CLOSED_MP4, "mp4", without(0, 1)),
    "variable rate in mp4": encoded("mp4", "libx264", X264, times=JUMPS),
    "variable rate in mkv": encoded("mkv", "libx264", X264, times=SLOWER),
    "broadcast rate in mkv": encoded("mkv", "libx264", X264, fps=Fraction(30000, 1001)),
    "one frame in mp4": encoded("mp4", "libx264", count=1),
    "one frame in avi": encoded("avi", "mpeg4", count=1),
    "one frame in webm": encoded("webm", "libvpx", count=1),
    "two frames": encoded("mp4", "libx264", count=2),
}
