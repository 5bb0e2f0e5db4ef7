"""A look at the packets of a video, without decoding: when each frame is shown, and whether decord can be trusted.

decord counts frames from a key frame on and takes the packets for the frames. That is right for most files and wrong in
silence for others: where packets are not shown (cuts that were made without re-encoding), where frames before a key
frame in time come after it in the file (open groups of pictures), where packets have no times, the same times, or are
missing. A look finds all of that in half a second for a video of two hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from timechat.datasets.readers.base import AV_ERRORS, cannot_open, refuse_false_promise, undecodable
from timechat.datasets.readers.bitstream import KeyFrames
from timechat.datasets.readers.display import display_matrix, is_mirrored
from timechat.errors import VideoError

# Containers in which decord has been tried on every kind of file of the tests.
_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv"}

# Codecs of which every packet is a frame that is shown, and whose key frames a decoder can start at.
_CODECS = {"h264", "hevc", "mpeg4"}

# Above this share of packets without a time, the times of the frames are taken from the decoder.
_MOST_WITHOUT_TIME = 0.1

# Times the usual distance of two frames: from here on, one may be missing between them.
_LONGEST_GAP = 1.5

_FIRST_FRAME_WITHIN = 64  # packets

# FFmpeg opens lists of files as well, which may name any file or address, and text.
_NO_VIDEOS = {"tty": "text", "concat": "a list of files", "hls": "a list of files", "dash": "a list of files"}

# Formats whose writers put the duration into the header at the end, when they know it.
_SURE_OF_DURATION = "matroska,webm"

# A file of which a smaller share of that duration is there has lost its end, or all from a damaged place on.
LEAST_LASTED = 0.9


@dataclass(frozen=True)
class Look:
    """What the packets of a video say. Times are in ticks, as in the file.

    Attributes:
        stamps: int64 [V], when each frame is shown, increasing.
        durations: int64 [V], how long; 0 where the file does not say.
        keys: int64 [K], the times of the key frames, increasing; empty if the file cannot be entered anywhere else
            than at its beginning.
        tick: seconds.
        start: of the container, seconds: zero of the player's clock.
        fps: average frame rate, frames per second; 0 if the file does not say.
        repeated: whether several frames have the same time; only the last of them stays on display.
        doubts: why decord might be wrong about the file; empty if it is right.
    """

    stamps: NDArray[np.int64]
    durations: NDArray[np.int64]
    keys: NDArray[np.int64]
    tick: Fraction
    start: float
    fps: float
    repeated: bool
    doubts: tuple[str, ...]

    def spans(self) -> NDArray[Any]:
        """Start and end of each frame's display: float64 [V, 2], seconds on the player's clock."""
        ticks = np.stack([self.stamps, self.stamps + self.durations], axis=1)
        return ticks * float(self.tick) - self.start


@dataclass
class _Packets:
    """What is gathered in one pass over the packets."""

    shown: list[tuple[int, int]]  # timestamp and duration
    keys: list[int]
    count: int = 0
    without_time: int = 0
    hidden: int = 0  # cut away by the file's edit list
    broken: int = 0
    late: bool = False  # a frame that is shown before a key frame comes after it
    first_shown: int | None = None  # what is shown before this needs frames that a cut has taken away
    reordered: bool = False
    matrix: tuple[int, ...] | None = None


def look_at(name: str) -> Look:
    """Look at the packets of a file, which must exist.

    Raises:
        VideoError: it has no video that can be decoded, or its end is missing.
    """
    try:
        with av.open(name) as container:
            stream = video_stream(name, container)
            refuse_false_promise(name, stream.frames)
            pictures = KeyFrames(stream.codec_context.name, stream.codec_context.extradata)
            packets = _gather(name, container, stream, pictures)
            _refuse_lost_end(name, container, packets, float(stream.time_base or 0))
            doubts = tuple(_doubts(container, stream, packets, pictures))
            tick = Fraction(stream.time_base or 0)
            start = (container.start_time or 0) / av.time_base
            fps = float(stream.average_rate or stream.guessed_rate or 0)
    except AV_ERRORS as error:
        raise cannot_open(name, error) from error
    if packets.first_shown is not None:
        packets.shown = [shown for shown in packets.shown if shown[0] >= packets.first_shown]
    if packets.without_time > _MOST_WITHOUT_TIME * packets.count or not packets.keys:
        packets.shown, packets.keys = list(_decoded(name)), []
    if not packets.shown:
        raise undecodable(name, _why_nothing(packets))
    ticks = np.array(packets.shown, dtype=np.int64)
    ticks = ticks[np.argsort(ticks[:, 0], kind="stable")]
    last = np.append(ticks[1:, 0] != ticks[:-1, 0], True)  # of those with the same time
    stamps, durations = ticks[last, 0], ticks[last, 1]
    keys = np.unique(np.array(packets.keys, dtype=np.int64))
    return Look(stamps, durations, keys, tick, start, fps, bool(np.any(~last)), doubts)


def video_stream(name: str, container: InputContainer) -> VideoStream:
    """The video stream that players show. Raises VideoError: there is none, or no decoder for it."""
    stream = container.streams.best("video")
    if container.format.name in _NO_VIDEOS:
        raise _no_video(name, _NO_VIDEOS[container.format.name])
    if not isinstance(stream, VideoStream):
        kinds = sorted({other.type for other in container.streams})
        raise _no_video(name, f"no video, only {' and '.join(kinds)}" if kinds else "no video")
    if stream.codec_context is None:
        raise VideoError(name, "this FFmpeg has no decoder for its codec. Re-encode it as H.264 or leave it out.")
    if av.stream.Disposition.attached_pic in stream.disposition:
        raise _no_video(name, "no video, only sound with a cover picture")
    return stream


def _no_video(name: str, content: str) -> VideoError:
    return VideoError(name, f"contains {content}. Name a video file, or leave it out.")


def _gather(name: str, container: InputContainer, stream: VideoStream, pictures: KeyFrames) -> _Packets:
    """One pass over the packets; decodes until the first frame comes, which says how it is to be turned."""
    packets, key, frame, complete = _Packets([], []), None, None, True
    for packet in container.demux(stream):
        if not packet.size:  # the end; the decoder gives what it has kept
            frame = frame or (_first_frame(packet) if packets.count <= _FIRST_FRAME_WITHIN else None)
            continue
        packets.count += 1
        pts, complete = packet.pts, not packet.is_corrupt
        closed = packet.is_keyframe and pictures.add(packet)
        if frame is None and packets.count <= _FIRST_FRAME_WITHIN:
            frame = _first_frame(packet)
        if not complete:
            packets.broken += 1
        elif pts is None:
            packets.without_time += 1
        else:
            if packet.is_keyframe:
                if key is None and not closed:
                    packets.first_shown = pts
                key = pts
                packets.keys.append(pts)
            elif key is None or pts < key:
                packets.late = True
            packets.reordered |= pts != packet.dts
            if packet.is_discard:
                packets.hidden += 1
            elif key is not None:  # what comes before the first key frame lacks the frames that it needs
                packets.shown.append((pts, packet.duration or 0))
    if not complete:
        raise undecodable(name, f"its end is missing: frame {packets.count} is incomplete")
    packets.matrix = None if frame is None else display_matrix(frame)
    return packets


def _refuse_lost_end(name: str, container: InputContainer, packets: _Packets, tick: float) -> None:
    """Refuse a file that ends long before its header says: FFmpeg stops there without a word.

    Both times are on the file's own clock, of which FFmpeg writes the end as the duration, wherever the file starts.

    Raises:
        VideoError: it does.
    """
    if container.format.name != _SURE_OF_DURATION or not container.duration or not packets.shown:
        return
    promised = container.duration / av.time_base
    lasted = max(map(sum, packets.shown)) * tick
    if lasted < LEAST_LASTED * promised:
        lasted = _last_packet(name)  # sound may go on longer
    if lasted < LEAST_LASTED * promised:
        raise undecodable(name, f"its end is missing, or it is damaged: it stops at {lasted:.1f} of {promised:.1f} s")


def _last_packet(name: str) -> float:
    """When the last packet of all streams ends, seconds."""
    with av.open(name) as container:
        ends = (
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in container.demux()
            if packet.pts is not None and packet.time_base is not None
        )
        return max(ends, default=0.0)


def _first_frame(packet: av.Packet[VideoStream]) -> av.VideoFrame | None:
    try:
        return next((frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)), None)
    except AV_ERRORS:
        return None  # reading will say what is wrong


def _doubts(container: InputContainer, stream: VideoStream, packets: _Packets, pictures: KeyFrames) -> Iterator[str]:
    """Every reason why decord might give other frames than those that are shown."""
    codec, stamps = stream.codec_context.name, [stamp for stamp, _ in packets.shown]
    if container.format.name not in _CONTAINERS:
        yield f"decord has not been proven right for {container.format.name}"
    elif codec not in _CODECS:
        yield f"decord has not been proven right for {codec}"
    if codec == "mpeg4" and packets.reordered:
        yield "MPEG-4 with B-frames"
    if sum(av.stream.Disposition.attached_pic not in other.disposition for other in container.streams.video) > 1:
        yield "several video streams"
    if packets.hidden:
        yield f"{packets.hidden} packets are cut away by an edit list"
    if packets.without_time:
        yield f"{packets.without_time} packets have no time"
    if packets.broken:
        yield f"{packets.broken} packets are incomplete"
    if stamps and min(stamps) < 0:
        yield "the first frame is before zero"
    gaps = np.diff(np.sort(stamps))
    if np.any(gaps == 0):
        yield "frames have the same time"
    if len(gaps) and gaps.max() > _LONGEST_GAP * np.median(gaps):
        yield "frames are missing, or the frame rate varies"
    if packets.late:
        yield "frames that are shown before a key frame come after it"
    if packets.matrix is None:
        yield "the first packets give no frame"
    elif is_mirrored(packets.matrix):
        yield "it is to be shown mirrored"
    yield from pictures.doubts()


def _decoded(name: str) -> Iterator[tuple[int, int]]:
    """Timestamp and duration of every frame that the decoder gives: for files whose packets do not say."""
    with av.open(name) as container:
        stream = video_stream(name, container)
        try:
            for frame in container.decode(stream):
                if frame.pts is not None:
                    yield frame.pts, frame.duration or 0
        except AV_ERRORS:
            return  # the frames so far are right; with none of them, the caller refuses the file


def _why_nothing(packets: _Packets) -> str:
    if not packets.count:
        return "it has no frames"
    if packets.hidden == packets.count:
        return "its edit list hides all frames"
    if packets.without_time:
        return "its frames have no times, as in a raw stream; ffmpeg -r RATE -i input output.mp4 gives them some"
    return "no frame of it can be decoded"
