"""Videos that are written anew show, at every second, what players show of the original: read back frame by frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from helpers.rewritten import HERE, numbers_and_seconds, wrong_frames
from helpers.timed_videos import copy_packets, numbered_pictures, shifted, write_matrix, write_numbered
from helpers.video_kinds import KINDS
from helpers.videos import write_video

from timechat.data.encoding import Encoding
from timechat.data.rewriting import Part, VideoJob, Written, rewrite
from timechat.datasets.readers.look import look_at
from timechat.datasets.video import load_video
from timechat.errors import VideoError

SMALL = Encoding(fps=6, short_side=224, crf=23)
WHOLE = Part()
WRITERS = ("pyav", "ffmpeg")

# Of each kind of trouble one: the others differ in containers and codecs alone, which decoders take care of.
TROUBLES = (
    "H.264 in mkv", "H.264 in mpeg-ts", "open groups, H.265", "edit list ends before the media",
    "edit list cuts on both sides", "cut to mp4, with sound", "cut of open groups to mkv", "before zero in mkv",
    "before zero in mp4", "sound first in mp4", "sound first in mkv", "sound a little first in mp4", "both late",
    "H.264 in avi", "VP8 with hidden frames", "GIF", "two streams", "repeated times", "lost frames",
    "a lost key frame", "variable rate in mp4", "variable rate in mkv", "broadcast rate in mkv", "one frame in mp4",
)  # fmt: skip


# Their pictures begin late, are few, or are lost.
NOT_FROM_THE_BEGINNING = {"one frame in mp4", "a lost key frame", "sound first in mp4", "sound first in mkv",
    "cut of open groups to mkv"}  # fmt: skip


# They mostly have fewer than 6 frames a second, which stay as they are.
SLOWER_THAN_THAT = {"repeated times", "variable rate in mkv"}


@pytest.fixture(autouse=True)
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ffmpeg on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def written(
    source: Path, encoding: Encoding, part: Part = WHOLE, writer: str = "pyav", suffix: str = ".mp4"
) -> tuple[Path, Written]:
    """Write a video anew."""
    target = source.with_name(f"new{suffix}")
    return target, rewrite(VideoJob(str(source), str(target), part), target, encoding, writer)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", TROUBLES)
def test_times_stay_honest_at_another_rate(tmp_path: Path, kind: str, writer: str) -> None:
    source = KINDS[kind](tmp_path)
    new, about = written(source, SMALL, writer=writer)
    read = numbers_and_seconds(new)
    assert wrong_frames(source, new) == []
    if kind in SLOWER_THAN_THAT:
        assert [number for number, _ in read] == [number for number, _ in numbers_and_seconds(source)]
        assert len(read) < 6 * about.seconds
        return
    assert [second for _, second in read] == pytest.approx([k / 6 for k in range(len(read))], abs=1e-3)
    assert len(read) == pytest.approx(6 * about.seconds, abs=1)


@pytest.mark.parametrize("kind", [kind for kind in TROUBLES if kind not in NOT_FROM_THE_BEGINNING])
def test_a_clip_is_what_players_show_of_it(tmp_path: Path, kind: str) -> None:
    """From the frame on display at its start to the last one before its end, none left out."""
    source, part = KINDS[kind](tmp_path), Part(0.43, 1.57)
    new, about = written(source, Encoding(), part)
    assert wrong_frames(source, new, begin=0.43) == []
    video = load_video(source, 1000, 16, settings=HERE)
    inside = [second for second in video.seconds if 0.43 < second < min(1.57, video.duration) - 1e-3]
    seconds = [second for _, second in numbers_and_seconds(new)]
    assert seconds[0] == 0.0
    assert seconds[-len(inside) :] == pytest.approx([second - 0.43 for second in inside], abs=2e-3)
    assert len(seconds) - len(inside) in (0, 1)
    assert about.frames == len(seconds)
    # The last frame stays until the end of the clip; at this rate that is 2 ms, which x264's order of frames hides.
    exact = 2e-3 if kind != "broadcast rate in mkv" else 1 / 29
    assert look_at(str(new)).spans()[-1, 1] == pytest.approx(about.seconds, abs=exact)


def test_a_clip_that_begins_before_its_picture_shows_the_first_one(tmp_path: Path) -> None:
    """So the later ones keep their times."""
    source = KINDS["sound first in mp4"](tmp_path)  # the picture begins at 2 s
    read = numbers_and_seconds(written(source, Encoding(), Part(1.5, 2.35))[0])
    assert [number for number, _ in read] == [0, 1, 2, 3]
    assert [second for _, second in read] == pytest.approx([0.0, 0.6, 0.7, 0.8], abs=2e-3)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("start", "end"), [(1.0, 3.0), (0.0, 4.8), (2.96, 2.99), (4.7, 9.0)])
def test_a_clip_has_exactly_the_frames_from_start_to_end(tmp_path: Path, start: float, end: float, writer: str) -> None:
    source = write_numbered(tmp_path / "a.mp4")  # 48 frames, 10 a second
    new, about = written(source, Encoding(), Part(start, end), writer)
    first, stop = int(start * 10 + 1e-6), min(48, int(np.ceil(end * 10 - 1e-6)))
    assert [number for number, _ in numbers_and_seconds(new)] == list(range(first, stop))
    assert about.short_by == pytest.approx(max(0.0, end - 4.8))
    assert not about.by_ffmpeg  # it leaves the last frame out in some versions


@pytest.mark.parametrize("writer", WRITERS)
def test_a_clip_at_another_rate(tmp_path: Path, writer: str) -> None:
    source = write_numbered(tmp_path / "a.mp4")
    new, about = written(source, SMALL, Part(1.24, 2.83), writer)
    assert wrong_frames(source, new, begin=1.24) == []
    assert len(numbers_and_seconds(new)) == 10
    assert about.by_ffmpeg == (writer == "ffmpeg")


@pytest.mark.parametrize("writer", WRITERS)
def test_small_files_without_sound_with_a_key_frame_every_second(tmp_path: Path, writer: str) -> None:
    source = write_video(tmp_path / "a.mp4", 60, size=(402, 302), fps=15)
    with_sound = copy_packets(source, tmp_path / "b.mp4", shifted(0.0), audio_s=4)
    new, _ = written(with_sound, SMALL, writer=writer)
    with av.open(str(new)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        context = container.streams.video[0].codec_context
        assert (context.name, context.width, context.height, context.pix_fmt) == ("h264", 298, 224, "yuv420p")
    look = look_at(str(new))
    assert [float(key * look.tick) for key in look.keys] == [0.0, 1.0, 2.0, 3.0]
    assert look.doubts == ()


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("size", "expected"), [((100, 60), (100, 60)), ((64, 500), (64, 500)), ((500, 250), (448, 224))]
)
def test_odd_shapes(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int], writer: str) -> None:
    """Small pictures are not blown up."""
    new, _ = written(write_video(tmp_path / "a.mp4", 3, size=size), SMALL, writer=writer)
    assert load_video(new, 1, None, settings=HERE).frames.shape[2:] == (expected[1], expected[0])


@pytest.mark.parametrize("writer", WRITERS)
def test_odd_sides_become_even(tmp_path: Path, writer: str) -> None:
    source = write_video(tmp_path / "a.mkv", numbered_pictures(6)[:, :47, :79], codec="ffv1")
    new, _ = written(source, Encoding(10), writer=writer)
    assert load_video(new, 1, None, settings=HERE).frames.shape[2:] == (48, 80)
    assert [number for number, _ in numbers_and_seconds(new)] == list(range(6))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)])
def test_what_is_to_be_turned_is_turned(tmp_path: Path, matrix: tuple[int, int, int, int], writer: str) -> None:
    source = write_numbered(tmp_path / "a.mp4", count=9)
    write_matrix(source, matrix)
    wanted = load_video(source, 9, None, settings=HERE).frames
    frames = load_video(written(source, Encoding(10, None, 1), writer=writer)[0], 9, None, settings=HERE).frames
    assert frames.shape == wanted.shape
    assert (frames.int() - wanted.int()).abs().float().mean() < 3


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ""])
@pytest.mark.parametrize("writer", WRITERS)
def test_each_container(tmp_path: Path, suffix: str, writer: str) -> None:
    source = write_numbered(tmp_path / "a.mp4", fps=Fraction(30000, 1001))
    new, _ = written(source, SMALL, writer=writer, suffix=suffix)
    assert wrong_frames(source, new) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, writer: str) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    cut = write_video(tmp_path / "cut.mp4", 40, faststart=True)
    cut.write_bytes(cut.read_bytes()[:-400])
    for name, problem in (
        ("text.mp4", "damaged, truncated or not a video"),
        ("empty.mp4", "the file is empty"),
        ("gone.mp4", "no such video file"),
        ("cut.mp4", "its end is missing"),
    ):
        with pytest.raises(VideoError, match=problem):
            written(tmp_path / name, SMALL, writer=writer)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        (Part(2.0, 2.0), "cannot be cut from 2 s to 2 s. Give 0 <= start < end."),
        (Part(-1.0, 2.0), "cannot be cut from -1 s"),
        (Part(4.8, 9.0), "lasts 4.800 s: there is nothing from 4.8 s to 9 s."),
    ],
)
def test_parts_that_are_not_there(tmp_path: Path, part: Part, problem: str) -> None:
    with pytest.raises(VideoError) as caught:
        written(write_numbered(tmp_path / "a.mp4"), SMALL, part)
    assert problem in str(caught.value)


def test_a_clock_that_jumps_is_an_error(tmp_path: Path) -> None:
    """Otherwise the new file would show one frame for 50 days, a hundred million times."""
    with pytest.raises(VideoError, match=r"its times jump by 21474.. s from one frame to the next"):
        written(KINDS["before zero in flv"](tmp_path), SMALL)


def test_a_video_of_which_half_is_lost_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"only . of .. frames are left of it"):
        written(KINDS["a lost key frame"](tmp_path), Encoding(), Part(1.0, 2.5))


def test_ffmpeg_that_fails_says_why(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ffmpeg"
    program.unlink()
    program.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(VideoError, match=r"ffmpeg failed \(no space left\)\. Take --with pyav"):
        written(write_numbered(tmp_path / "a.mp4"), SMALL, writer="ffmpeg")


@pytest.mark.parametrize("wrong", ["-frames:v 2", "-vf setpts=PTS*2"])
def test_what_ffmpeg_wrote_is_checked(tmp_path: Path, wrong: str) -> None:
    """An old or strange version must not put wrong times into the data."""
    program = tmp_path / "bin" / "ffmpeg"
    program.unlink()
    program.write_text(
        f"#!/bin/sh\nfor last; do :; done\nshift 0\nexec {imageio_ffmpeg.get_ffmpeg_exe()} "
        f'-loglevel error -y -i {tmp_path}/a.mp4 {wrong} -r 6 -f mp4 "$last"\n'
    )
    program.chmod(0o755)
    with pytest.raises(VideoError, match=r"frames were written instead of|off its time"):
        written(write_numbered(tmp_path / "a.mp4"), SMALL, writer="ffmpeg")
