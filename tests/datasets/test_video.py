"""Reading videos and pictures: which frames, which seconds, and what is refused; videos with each reader."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.videos import gray_frames, write_video
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from timechat.datasets import readers
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import (
    frame_seconds,
    frames_by_rate,
    head_tail_indices,
    load_frame_folder,
    load_image,
    load_video,
    random_indices,
    uniform_indices,
)
from timechat.errors import ConfigError, VideoError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(params=["auto", "pyav"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Videos are read with the reader that is chosen for them (decord, for most), and with PyAV."""
    plain, settings = readers.open_video, ReaderSettings(request.param)
    monkeypatch.setattr(readers, "open_video", lambda name, size, _: plain(name, size, settings))
    return request.param


@pytest.mark.parametrize("case", json.loads((GOLDEN / "uniform_sampling.json").read_text()))
def test_uniform_sampling_is_the_published_one(case):
    assert uniform_indices(case["num_video_frames"], case["n_frms"]) == case["indices"]
    timestamps = np.arange(case["num_video_frames"]) / case["fps"]
    seconds = frame_seconds(timestamps.astype(np.float32), case["fps"])[case["indices"]]
    assert [str(round(second, 1)) for second in seconds.tolist()] == case["seconds"]


@given(st.integers(0, 20000), st.integers(1, 300))
def test_uniform_indices_are_as_many_as_promised_and_in_range(num_video_frames, n_frms):
    indices = uniform_indices(num_video_frames, n_frms)
    assert len(indices) == min(num_video_frames, n_frms)
    assert indices == sorted(set(indices))
    assert all(0 <= index < num_video_frames for index in indices)


@given(st.integers(0, 3000), st.integers(1, 130), st.integers(0, 5))
def test_random_indices_are_as_many_as_promised_and_in_range(num_video_frames, n_frms, seed):
    indices = random_indices(num_video_frames, n_frms, torch.Generator().manual_seed(seed))
    assert len(indices) == min(num_video_frames, n_frms)
    assert indices == sorted(set(indices))
    assert all(0 <= index < num_video_frames for index in indices)


def test_random_indices_take_every_frame_of_an_interval_but_its_last():
    seen = [set(), set(), set()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        for interval, index in zip(seen, random_indices(15, 3, generator), strict=True):
            interval.add(index)
    assert seen == [{0, 1, 2, 3}, {5, 6, 7, 8}, {10, 11, 12, 13}]


def test_random_indices_have_the_published_borders_of_intervals():
    """7 x 122 / 14 is 61, and a little less in floating point: the published intervals meet at 60."""
    generator = torch.Generator().manual_seed(0)
    before, after = zip(*[random_indices(122, 14, generator)[6:8] for _ in range(300)], strict=True)
    assert (set(before), set(after)) == (set(range(52, 59)), set(range(60, 68)))


def test_random_indices_fall_back_when_an_interval_is_empty():
    """10 of 15 frames: some segments have only one frame, so any frame may come."""
    generator = torch.Generator().manual_seed(0)
    drawn = [random_indices(15, 10, generator) for _ in range(100)]
    assert {index for indices in drawn for index in indices} == set(range(15))


@pytest.mark.parametrize("num_video_frames", range(1, 12))
@pytest.mark.parametrize("n_frms", range(1, 13))
def test_head_tail_indices_are_half_from_each_half(num_video_frames, n_frms):
    indices = head_tail_indices(num_video_frames, n_frms, torch.Generator().manual_seed(n_frms))
    count, middle = min(n_frms, num_video_frames), num_video_frames // 2
    assert len(set(indices)) == count
    assert indices == sorted(indices)
    assert sum(index < middle for index in indices) == count // 2
    assert 0 <= indices[0] <= indices[-1] < num_video_frames


def test_head_tail_indices_reach_every_frame_and_follow_the_generator():
    draws = [head_tail_indices(10, 4, torch.Generator().manual_seed(seed)) for seed in (*range(60), 0)]
    assert {index for draw in draws for index in draw} == set(range(10))
    assert draws[0] == draws[-1]
    assert len({tuple(draw) for draw in draws}) > 20


@pytest.mark.parametrize(
    ("seconds", "fps", "expected"),
    [(10.0, 2, 20), (10.2, 2, 20), (10.3, 2, 21), (0.1, 2, 1), (100.0, 2, 96), (9, 0.5, 5)],
)
def test_frames_by_rate(seconds, fps, expected):
    assert frames_by_rate(seconds, fps, most=96) == expected


def test_frames_are_sampled_by_rate(tmp_path):
    """Up to a number, and from a clip as from a whole video; random ones as well."""
    path = write_video(tmp_path / "clip.mp4", frames=40)  # 4 s
    assert load_video(path, 96, 16, fps=2).seconds == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert load_video(path, 5, 16, fps=2).seconds == [0.0, 0.8, 1.6, 2.4, 3.2]
    assert load_video(path, 96, 16, start=1.0, end=2.5, fps=2).seconds == pytest.approx([0.0, 0.5, 1.0])
    for sampling in ("rand", "headtail"):
        video = load_video(path, 96, 16, sampling, torch.Generator().manual_seed(0), fps=2)
        assert len(video.seconds) == 8
        assert video.seconds != load_video(path, 96, 16, fps=2).seconds
    assert sum(second < 2 for second in video.seconds) == 4


@pytest.mark.parametrize("sampler", [uniform_indices, lambda v, n: random_indices(v, n, torch.Generator())])
@pytest.mark.parametrize(("num_video_frames", "n_frms"), [(10, 0), (10, -1), (-1, 4)])
def test_impossible_counts_are_refused(sampler, num_video_frames, n_frms):
    with pytest.raises(ConfigError):
        sampler(num_video_frames, n_frms)


def test_constant_rate_in_single_precision_gives_exact_seconds_even_after_hours():
    fps = 6000 / 1001
    exact = np.arange(400_000) / fps
    assert frame_seconds(exact.astype(np.float32), fps).tolist() == exact.tolist()


@pytest.mark.parametrize("shift", [0.0015, -0.0015])
def test_one_frame_off_beat_makes_the_rate_variable(shift):
    timestamps = np.arange(10) / 10
    timestamps[7] += shift
    assert frame_seconds(timestamps, 10.0).tolist() == timestamps.tolist()


def test_a_video_that_begins_later_than_its_sound_counts_from_there():
    """Also in Matroska, which rounds each time to a millisecond, the first one included."""
    exact = 0.0417 + np.arange(1000) / (30000 / 1001)
    seconds = frame_seconds(np.round(exact, 3), 30000 / 1001)
    assert np.abs(seconds - exact).max() < 5e-4
    assert np.abs(np.diff(seconds) - 1001 / 30000).max() < 1e-9


@pytest.mark.parametrize("fps", [0.0, float("nan"), float("inf"), -1.0])
def test_a_container_without_a_rate_gives_timestamps(fps):
    assert frame_seconds(np.array([0.0, 0.5]), fps).tolist() == [0.0, 0.5]


@pytest.mark.usefixtures("reader")
def test_decoding_agrees_with_the_published_preprocessing():
    expected = json.loads((GOLDEN / "preprocess" / "expected.json").read_text())
    raw = load_file(GOLDEN / "preprocess" / "expected.safetensors")["raw"]
    video = load_video(GOLDEN / "preprocess" / "clip.mp4", expected["n_frms"], expected["image_size"])
    assert torch.equal(video.frames, raw.permute(0, 3, 1, 2))
    assert video.frames.is_contiguous()
    printed = ", ".join(str(round(second, 1)) for second in video.seconds)
    assert f"sampled at {printed} seconds. " in expected["message"]
    assert (video.fps, video.duration) == (12.5, 31 / 12.5)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("mkv", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("flv", "libx264"),
    ],
)
def test_containers(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"clip.{suffix}", frames=20, fps=10, codec=codec)
    video = load_video(path, n_frms=5, image_size=32)
    assert video.frames.shape == (5, 3, 32, 32)
    assert video.frames.dtype == torch.uint8
    assert video.seconds == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert (video.fps, video.duration) == (10.0, 2.0)
    wanted = gray_frames(20)[[0, 4, 8, 12, 16], 0, 0, 0].astype(int)
    assert np.abs(video.frames.float().mean((1, 2, 3)).numpy() - wanted).max() < 4


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
        ("libx265", {"x265-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:log-level=error"}),
    ],
)
@pytest.mark.parametrize("n_frms", [9, 12, 20, 30])
def test_open_gops_are_decoded_right(tmp_path, codec, options, n_frms):
    """Seeking in such files returns neighbours of the frames that were asked for."""
    path = write_video(tmp_path / "open.mp4", frames=60, codec=codec, gop=12, codec_options=options)
    wanted = load_video(path, 60, 32).frames[uniform_indices(60, n_frms)]
    assert torch.equal(load_video(path, n_frms, 32).frames, wanted)
    levels = gray_frames(60)[uniform_indices(60, n_frms), 0, 0, 0].astype(int)
    assert np.abs(wanted.float().mean((1, 2, 3)).numpy() - levels).max() <= 2.5


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("width", [1, 8, 16, 17, 48, 50, 56, 72, 100, 224])
def test_every_width_is_decoded_right(tmp_path, width):
    """decord's own batch call fails at some of these."""
    ramp = np.zeros((3, 48, 64, 3), np.uint8)
    ramp += (np.arange(64, dtype=np.uint8) * 3)[None, None, :, None]
    frames = load_video(write_video(tmp_path / "ramp.mp4", frames=ramp), 3, width).frames
    assert frames.shape == (3, 3, width, width)
    centres = ((np.arange(width) + 0.5) * 64 / width - 0.5).clip(0, 63) * 3
    assert np.abs(frames.float().mean((0, 1, 2)).numpy() - centres).max() < 6


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("width", [16, 48, 50, 72, 100])
def test_every_native_width_is_decoded_right(tmp_path, width):
    video = load_video(write_video(tmp_path / "clip.mp4", frames=4, size=(width, 32)), 4, None)
    assert video.frames.shape == (4, 3, 32, width)
    assert np.abs(video.frames.float().numpy() - gray_frames(4, (width, 32)).transpose(0, 3, 1, 2)).max() < 4


@pytest.mark.usefixtures("reader")
def test_broadcast_rate_counts_in_double_precision(tmp_path):
    path = write_video(tmp_path / "ntsc.mp4", frames=120, fps=Fraction(30000, 1001))
    assert load_video(path, n_frms=4, image_size=16).seconds == [index / (30000 / 1001) for index in (0, 30, 60, 90)]


@pytest.mark.usefixtures("reader")
def test_variable_rate_takes_the_decoders_timestamps(tmp_path):
    times = [0.0, 0.1, 0.2, 1.0, 2.0, 4.0]
    video = load_video(write_video(tmp_path / "variable.mp4", frames=6, times=times), n_frms=6, image_size=16)
    assert video.seconds == pytest.approx(times, abs=1e-6)
    assert video.duration > 4.0


@pytest.mark.usefixtures("reader")
def test_native_size_and_shorter_videos(tmp_path):
    video = load_video(write_video(tmp_path / "clip.mp4", frames=3, size=(64, 48)), n_frms=96, image_size=None)
    assert video.frames.shape == (3, 3, 48, 64)
    assert video.seconds == [0.0, 0.1, 0.2]


@pytest.mark.usefixtures("reader")
def test_one_frame_video(tmp_path):
    video = load_video(write_video(tmp_path / "one.mp4", frames=1), image_size=16)
    assert (video.seconds, len(video.frames)) == ([0.0], 1)


@pytest.mark.usefixtures("reader")
def test_random_sampling_follows_its_generator(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=60)
    first, again, other = (
        load_video(path, 6, 16, sampling="rand", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.seconds == again.seconds != other.seconds
    assert torch.equal(first.frames, again.frames)


@pytest.mark.usefixtures("reader")
def test_a_cut_counts_from_its_own_start(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=30, fps=10)
    whole = load_video(path, 30, 16)
    video = load_video(path, 4, 16, start=1.0, end=1.8)
    assert video.seconds == pytest.approx([0.0, 0.2, 0.4, 0.6], abs=1e-9)
    assert torch.equal(video.frames, whole.frames[[10, 12, 14, 16]])
    assert video.duration == pytest.approx(0.8)


@pytest.mark.usefixtures("reader")
def test_an_open_cut_reaches_the_border(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=30, fps=10)
    assert load_video(path, 96, 16, start=2.5).seconds == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-9)
    assert load_video(path, 96, 16, end=0.3).seconds == [0.0, 0.1, 0.2]
    late = load_video(path, 96, 16, start=2.8, end=100.0)
    assert (len(late.seconds), late.duration) == (2, pytest.approx(0.2))


@pytest.mark.usefixtures("reader")
def test_a_cut_between_two_frames_shows_the_frame_on_display(tmp_path):
    path = write_video(tmp_path / "slow.mp4", frames=5, fps=1)
    video = load_video(path, 8, 16, start=2.3, end=2.6)
    assert torch.equal(video.frames, load_video(path, 5, 16).frames[2:3])
    assert video.seconds == [0.0]


@pytest.mark.parametrize("end", [None, 2.95, 9.0])
def test_a_cut_after_the_last_frame_begins_shows_it_until_it_ends(tmp_path, end):
    path = write_video(tmp_path / "slow.mp4", frames=3, fps=1)
    video = load_video(path, 8, 16, start=2.9, end=end)
    assert torch.equal(video.frames, load_video(path, 3, 16).frames[2:])
    assert video.seconds == [0.0]
    assert video.duration == pytest.approx(0.05 if end == 2.95 else 0.1)
    with pytest.raises(VideoError, match=r"cut from 3 s to its end: it lasts 3\.000 s"):
        load_video(path, 8, 16, start=3.0)


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, 1.0), (1.0, 1.0), (1.5, 1.0), (50.0, 60.0), (50.0, None), (0.0, 0.0), (float("nan"), 1.0)]
)
def test_a_cut_outside_of_the_video_is_refused(tmp_path, start, end):
    path = write_video(tmp_path / "clip.mp4", frames=20)
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be cut"):
        load_video(path, 4, 16, start=start, end=end)


def _broken_files(folder: Path) -> dict[str, Path]:
    """One file of each kind of trouble."""
    good = write_video(folder / "good.mp4", frames=20, faststart=True).read_bytes()
    tail = write_video(folder / "tail.mp4", frames=20).read_bytes()
    files = {name: folder / f"{name}.mp4" for name in ("empty", "text", "cut", "cut_index", "directory", "sound")}
    files["missing"] = folder / "missing.mp4"
    files["empty"].touch()
    files["text"].write_text("no video at all\n" * 50)
    files["cut"].write_bytes(good[: len(good) // 2])
    files["cut_index"].write_bytes(tail[: len(tail) // 2])
    files["directory"].mkdir()
    files["pipe"] = folder / "pipe.mp4"
    os.mkfifo(files["pipe"])
    files["no_frames"] = folder / "no_frames.mkv"
    with av.open(str(files["no_frames"]), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with av.open(str(files["sound"]), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return files


KINDS = ("missing", "empty", "text", "cut", "cut_index", "directory", "pipe", "no_frames", "sound")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_whole_video_is_a_typed_error(tmp_path, kind):
    path = _broken_files(tmp_path)[kind]
    with pytest.raises(VideoError) as caught:
        load_video(path, 8, 16)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert any(word in message for word in ("Check", "Name", "Download", "download"))


@pytest.mark.usefixtures("reader")
def test_a_header_that_promises_too_much_does_not_end_the_process(tmp_path):
    """decord would abort: std::bad_alloc."""
    data = bytearray(write_video(tmp_path / "good.mp4", frames=20).read_bytes())
    count = data.index(b"stts") + 12
    data[count : count + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="promises"):
        load_video(tmp_path / "bad.mp4", 4, 32)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_video_gives_frames_or_a_typed_error(tmp_path, seed):
    """Nothing else may leave: a worker that dies of an unknown exception ends the run."""
    rng = np.random.default_rng(seed)
    data = bytearray(write_video(tmp_path / "good.mp4", frames=20, faststart=bool(seed % 2)).read_bytes())
    if seed % 4 < 2:
        data = data[: rng.integers(1, len(data))]
    else:
        for position in rng.integers(0, len(data), rng.integers(1, 60)):
            data[position] = rng.integers(256)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    try:
        video = load_video(path, 8, 16)
    except VideoError:
        return
    assert len(video.frames) == len(video.seconds) > 0
    assert np.all(np.diff(video.seconds) >= 0)


def test_arguments_that_cannot_be(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=4)
    with pytest.raises(VideoError, match="n_frms is 0"):
        load_video(path, n_frms=0)
    with pytest.raises(ConfigError, match="generator"):
        load_video(path, sampling="rand")
    with pytest.raises(ConfigError, match=r"'middle'.*uniform, rand, headtail"):
        load_video(path, sampling="middle")
    with pytest.raises(ConfigError, match="image_size is 0"):
        load_video(path, image_size=0)


def _load_in_worker(path: str) -> int:
    return len(load_video(path, 4, 16).frames)


@pytest.mark.usefixtures("reader")
def test_a_forked_worker_decodes_after_its_parent_did(tmp_path):
    path = str(write_video(tmp_path / "clip.mp4", frames=8))
    parent = _load_in_worker(path)
    loader = torch.utils.data.DataLoader(
        [path] * 4,
        collate_fn=lambda batch: _load_in_worker(batch[0]),
        num_workers=2,
        timeout=60,
        multiprocessing_context="fork",
    )
    assert list(loader) == [parent] * 4


def _frame_folder(folder: Path, count: int = 12, size: tuple[int, int] = (64, 48)) -> Path:
    """A folder as TVQA has them: 00001.jpg, ..., from dark to bright."""
    folder.mkdir()
    for number, pixels in enumerate(gray_frames(count, size), 1):
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg")
    return folder


def test_a_folder_of_frames_is_a_video(tmp_path):
    folder = _frame_folder(tmp_path / "clip")
    (folder / "list.txt").write_text("no frame")
    (folder / "._00001.jpg").write_text("what some systems leave")
    video = load_frame_folder(folder, frame_rate=3, n_frms=4, image_size=16)
    assert video.frames.shape == (4, 3, 16, 16)
    assert video.frames.dtype == torch.uint8
    assert video.seconds == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert (video.fps, video.duration) == (3.0, 4.0)
    levels = [load_image(folder / f"{number:05d}.jpg", 16).frames[0] for number in (1, 4, 7, 10)]
    assert torch.equal(video.frames, torch.stack(levels))
    assert load_frame_folder(folder, frame_rate=3, image_size=None).frames.shape == (12, 3, 48, 64)


def test_frames_are_ordered_by_number_and_cut_like_a_video(tmp_path):
    folder = _frame_folder(tmp_path / "clip")
    for number in range(1, 13):  # 1.jpg, 10.jpg, 11.jpg, ... in the order of the alphabet
        (folder / f"{number:05d}.jpg").rename(folder / f"{number}.jpg")
    video = load_frame_folder(folder, frame_rate=3, n_frms=96, image_size=16, start=1.0, end=2.0)
    assert video.seconds == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert video.duration == pytest.approx(1.0)
    wanted = [load_image(folder / f"{number}.jpg", 16).frames[0] for number in (4, 5, 6)]
    assert torch.equal(video.frames, torch.stack(wanted))
    late = load_frame_folder(folder, frame_rate=3, image_size=16, start=3.5, end=100.0)
    assert (len(late.seconds), late.duration) == (1, pytest.approx(0.5))


def _break_folder(folder: Path, kind: str) -> None:
    if kind == "gap":
        (folder / "00002.jpg").unlink()
    elif kind == "no first":
        (folder / "00001.jpg").unlink()
    elif kind == "twice":
        (folder / "1.jpg").write_bytes((folder / "00001.jpg").read_bytes())
    elif kind == "named":
        (folder / "poster.png").write_bytes(b"")
    elif kind == "damaged":
        (folder / "00003.jpg").write_bytes(b"no picture")
    elif kind == "empty":
        for picture in folder.iterdir():
            picture.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gap", "clip: frame 2 of 4 is missing"),
        ("no first", "clip: frame 1 of 4 is missing"),
        ("twice", r"'00001.jpg' and '1.jpg' are the same frame"),
        ("named", "'poster.png' is not a numbered frame"),
        ("damaged", r"00003\.jpg: cannot be read as an image"),
        ("empty", "contains no frames"),
    ],
)
def test_a_broken_folder_of_frames_is_a_typed_error(tmp_path, kind, message):
    folder = _frame_folder(tmp_path / "clip", count=4)
    _break_folder(folder, kind)
    with pytest.raises(VideoError, match=message):
        load_frame_folder(folder, frame_rate=3, image_size=16)


def test_a_folder_of_frames_that_is_none(tmp_path):
    folder = _frame_folder(tmp_path / "clip", count=4)
    Image.new("RGB", (10, 10)).save(folder / "00002.jpg")
    with pytest.raises(VideoError, match="differ in size"):
        load_frame_folder(folder, frame_rate=3, image_size=None)
    with pytest.raises(VideoError, match="cannot be cut"):
        load_frame_folder(folder, frame_rate=3, start=5.0, end=6.0)
    with pytest.raises(VideoError, match="no such folder"):
        load_frame_folder(tmp_path / "nowhere", frame_rate=3)
    with pytest.raises(VideoError, match="is a file"):
        load_frame_folder(folder / "00001.jpg", frame_rate=3)
    for rate in (0, -3, float("nan")):
        with pytest.raises(ConfigError, match="frame_rate"):
            load_frame_folder(folder, frame_rate=rate)
    with pytest.raises(ConfigError, match="n_frms is 0"):
        load_frame_folder(folder, frame_rate=3, n_frms=0)
