"""What only matters when reading with decord."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers.timed_videos import X264, write_edit_list, write_numbered
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
