"""What only matters when reading with decord."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers.timed_videos import X264, number_of, write_edit_list, write_numbered
from helpers.videos import write_video

from timechat.datasets.readers import ReaderSettings, open_video
from timechat.datasets.readers.look import look_at
from timechat.datasets.video import load_video
from timechat.errors import VideoError

decord = pytest.importorskip("decord")

FORCED = ReaderSettings("decord")
HERE = ReaderSettings(timeout_s=None)


def test_decord_reads_what_it_is_proven_right_about(tmp_path):
    path = str(write_video(tmp_path / "clip.mp4", frames=4))
    assert [open_video(path, 16, settings).how for settings in (HERE, FORCED)] == ["decord", "decord"]


def test_a_file_that_decord_would_read_wrong_is_refused_if_it_must_be_decord(tmp_path):
    path = write_numbered(tmp_path / "clip.mp4")
    write_edit_list(path, length_s=2.5)
    with pytest.raises(VideoError, match=r"wrong frames .*\(12 packets are cut away.*model\.video_reader=auto"):
        load_video(path, 4, 16, settings=FORCED)


@pytest.mark.parametrize("found", [[0.0, 0.1, 0.3, 0.3], [0.0, 0.1, 0.2]])
def test_pyav_reads_where_decord_finds_other_frames_than_the_look(tmp_path, monkeypatch, found):
    path = str(write_video(tmp_path / "clip.mp4", frames=4))
    spans = np.repeat(np.array(found)[:, None], 2, axis=1)
    monkeypatch.setattr(decord.VideoReader, "get_frame_timestamp", lambda reader, indices: spans)
    assert open_video(path, 16, HERE).how.startswith("PyAV (decord")
    with pytest.raises(VideoError, match="may give wrong frames"):
        open_video(path, 16, ReaderSettings("decord", timeout_s=None))


def test_pyav_reads_what_decord_cannot_open(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no")

    path = str(write_video(tmp_path / "clip.mp4", frames=4))
    monkeypatch.setattr(decord.VideoReader, "get_frame_timestamp", fail)
    assert open_video(path, 16, HERE).how == "PyAV (decord cannot read it)"
    with pytest.raises(VideoError, match=r"decord cannot read it \(no\)\. Set model\.video_reader=auto"):
        open_video(path, 16, ReaderSettings("decord", timeout_s=None))


def test_decord_may_repeat_no_frame_in_place_of_one_that_it_cannot_decode(tmp_path):
    """By default it does so in silence, here for the hidden frames that it counts."""
    from timechat.datasets.readers.decord import DecordReader

    path = write_numbered(tmp_path / "clip.mp4", codec_options=X264)
    whole = look_at(str(path))
    write_edit_list(path, length_s=2.5)
    count = len(decord.VideoReader(str(path)))
    look = dataclasses.replace(whole, stamps=whole.stamps[:count], durations=whole.durations[:count])
    with pytest.raises(VideoError, match="more than 0 duplicate frames"):
        DecordReader(str(path), 16, look).read(list(range(count)))


def test_decoding_works_under_any_bridge(tmp_path):
    """Other packages in the process set decord's output type; theirs is put back."""
    path = write_video(tmp_path / "clip.mp4", frames=4)
    plain = load_video(path, 4, 16)
    decord.bridge.set_bridge("torch")
    try:
        assert torch.equal(load_video(path, 4, 16, settings=HERE).frames, plain.frames)
        assert isinstance(decord.VideoReader(str(path))[0], torch.Tensor)
    finally:
        decord.bridge.set_bridge("native")


class Counting:
    """A decord reader that notes which frames are decoded as pictures."""

    def __init__(self, reader):
        self.reader, self.taken = reader, []

    def __getitem__(self, index):
        self.taken.append(index)
        return self.reader[index]


@pytest.mark.parametrize("bframes", [0, 2])
def test_key_frames_on_the_way_change_no_frame(tmp_path, bframes):
    """A key frame every 5 frames: near ones are passed by decoding on, one frame before each; far ones by a seek."""
    from timechat.datasets.readers.decord import DecordReader

    options = {"x264-params": f"bframes={bframes}:b-adapt=0:scenecut=0:keyint=5:min-keyint=5"}
    path = str(write_numbered(tmp_path / "clip.mp4", count=60, codec_options=options))
    look = look_at(path)
    keys = DecordReader(path, 48, look)._keys
    assert keys == list(range(0, 60, 5))
    reader = DecordReader(path, 48, look)
    reader._reader = counting = Counting(reader._reader)
    wanted = [2, 4, 5, 9, 11, 24, 58]
    found, shown = reader.read(wanted)
    assert shown == wanted
    assert counting.taken == [2, 4, 5, 9, 11, 14, 19, 24, 58]
    assert [number_of(frame.transpose(1, 2, 0)) for frame in found] == wanted
    again = [0, 7, 30, 31]
    assert np.array_equal(reader.read(again)[0], DecordReader(path, 48, look).read(again)[0])
