"""A part of a video as a file of its own without encoding it anew: at once, with its sound, and as sharp as it was."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

from timechat.data.encoding import Encoding
from timechat.data.frame_plan import FramePlan, plan_frames
from timechat.data.rewriting import FORMATS, VideoJob, rewrite
from timechat.datasets.readers.base import AV_ERRORS
from timechat.datasets.readers.look import Look, look_at, video_stream
from timechat.errors import VideoError

AnyPacket: TypeAlias = "Packet[VideoStream] | Packet[AudioStream]"


class _Timed(NamedTuple):
    """A packet, when it is shown and decoded in ticks, and a tick in seconds."""

    packet: AnyPacket
    pts: int
    dts: int
    tick: Fraction


_MOST_AHEAD = 16  # frames from which others are decoded that are shown before them: as many as H.264 and H.265 keep
_OFF_BY = 2e-3  # seconds by which a copied frame may be off
_SOUND_LATE_BY = 1  # second by which sound may come after its picture in a file


def copy_or_rewrite(job: VideoJob, look: Look, temporary: Path) -> bool:
    """Make the file of a part: a copy where that shows what it should, else encoded, without sound.

    A copy has the frames of the part, and at its end perhaps a few more, from which the last ones are decoded. It is
    entered at the key frame before the part; what comes between is hidden, as MP4 can. Not copied are codecs that MP4
    does not hold, and files that are damaged, say no times, or cannot be entered in the middle.

    Args:
        job: what to make; the target is an MP4.
        look: at the video.
        temporary: where to write it.

    Returns:
        Whether it is a copy.

    Raises:
        VideoError: the video ends before the part begins, or is damaged.
    """
    plan = plan_frames(job.source, look, job.part, None)
    try:
        _copy(job, plan, look, temporary)
        copied = _shows(temporary, plan, look)
    except (*AV_ERRORS, VideoError):  # if something is wrong with the video, the encoding says what
        copied = False
    if not copied:
        rewrite(job, temporary, Encoding(), "pyav")
    return copied


def _copy(job: VideoJob, plan: FramePlan, look: Look, temporary: Path) -> None:
    """Copy the packets of the video that players show, and of its sound; the first frame of the part comes at zero."""
    keys = look.keys[look.keys <= plan.stamps[0]]
    if not len(keys):
        raise VideoError(job.source, "has no key frame to begin at.")
    zero = int(plan.stamps[0]) * look.tick
    container_format = FORMATS[Path(job.target).suffix.lower()]
    with av.open(job.source) as old, av.open(str(temporary), "w", format=container_format) as new:
        picture, sound = video_stream(job.source, old), old.streams.best("audio")
        wanted = [picture, sound] if isinstance(sound, AudioStream) else [picture]
        # Opaque: what only has a decoder here can be copied as well.
        copies = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in wanted}
        old.seek(int(keys[-1]), stream=picture)
        for timed in _of_part(_timed(old.demux(wanted)), int(keys[-1]), int(plan.stamps[-1]), zero, plan.duration):
            packet, shift = timed.packet, round(zero / timed.tick)
            packet.pts, packet.dts = timed.pts - shift, timed.dts - shift
            packet.stream = copies[packet.stream.index]
            new.mux(packet)


def _timed(packets: Iterator[AnyPacket]) -> Iterator[_Timed]:
    """Packets with their times; those of decoding Matroska does not give for the first pictures after it is entered."""
    untimed: list[AnyPacket] = []
    for packet in packets:
        if packet.pts is None:
            continue
        tick = Fraction(packet.time_base)
        if packet.dts is None:
            untimed += [packet] if packet.stream.type == "video" else []
            continue
        if packet.stream.type == "video":
            for before, early in zip(range(len(untimed), 0, -1), untimed, strict=True):
                dts = packet.dts - before * max(1, early.duration or 0)
                yield _Timed(early, cast(int, early.pts), dts, tick)
            untimed = []
        yield _Timed(packet, packet.pts, packet.dts, tick)


def _of_part(packets: Iterator[_Timed], key: int, last: int, zero: Fraction, duration: float) -> Iterator[_Timed]:
    """Pictures from the key frame to the last one, with those that they are decoded from; sound from zero on."""
    entered, ahead = False, list[_Timed]()
    for timed in packets:
        if timed.packet.stream.type == "audio":
            if 0 <= timed.pts * timed.tick - zero < duration:
                yield timed
        elif timed.dts <= last:
            entered = entered or timed.pts == key
            if entered and timed.pts > last:
                ahead.append(timed)  # is copied if a picture of the part comes after it
            elif entered and timed.pts >= key:
                yield from (*ahead, timed)
                ahead = []
        elif timed.dts * timed.tick > zero + Fraction(duration) + _SOUND_LATE_BY:
            return


def _shows(copy: Path, plan: FramePlan, look: Look) -> bool:
    """Whether a copy shows the frames of the plan, each at its time, and any others only after them."""
    shown = look_at(str(copy)).spans()[:, 0]
    wanted = (plan.stamps - plan.stamps[0]) * float(look.tick)
    if not len(wanted) <= len(shown) <= len(wanted) + _MOST_AHEAD:
        return False
    return bool(np.abs(shown[: len(wanted)] - wanted).max() < _OFF_BY)
