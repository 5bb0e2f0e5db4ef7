"""Frames and seconds belong together in every kind of file: what a player shows at second t is what is told to be at t.

Each maker writes one small file of a kind whose pictures say which they are. PyAV, decoding all of it in order, says
when a player shows each; what `load_video` gives must agree, for all frames and for a few of them.
"""

from __future__ import annotations

import pytest
from helpers.timed_videos import disagreements, number_of, player_times
from helpers.video_kinds import KINDS

from timechat.datasets.video import load_video


@pytest.mark.parametrize("kind", KINDS)
def test_frames_and_seconds_belong_together(tmp_path, kind):
    path = KINDS[kind](tmp_path)
    for n_frms in (1000, 5):
        assert disagreements(path, n_frms) == []
    assert disagreements(path, 9, reader="pyav") == []


@pytest.mark.parametrize(
    "kind",
    [
        "edit list cuts on both sides",
        "cut to mkv, with sound",
        "cut of open groups to mkv",
        "cut of H.265 to mkv",
        "H.264 in avi",
        "lost first frames",
    ],
)
def test_all_that_a_player_shows_is_read(tmp_path, caplog, kind):
    """What only a cut has left behind, and nobody can decode, does not count as lost."""
    path = KINDS[kind](tmp_path)
    assert len(load_video(path, 1000, 16).seconds) == sum(map(len, player_times(path).values()))
    assert "cannot be decoded" not in caplog.text


def test_of_frames_with_the_same_time_the_last_one_stays_on_display(tmp_path):
    video = load_video(KINDS["repeated times"](tmp_path), 1000, 56)
    assert [number_of(picture.permute(1, 2, 0).numpy()) for picture in video.frames] == list(range(1, 48, 2))
    assert video.seconds == pytest.approx([i / 5 for i in range(24)])


def test_a_video_that_begins_later_than_its_sound_says_so(tmp_path):
    """The published rule, index / frame rate, counts from the first frame; players count from the first sound."""
    video = load_video(KINDS["sound first in mp4"](tmp_path), 4, 16)
    assert video.seconds == pytest.approx([2.0, 3.2, 4.4, 5.6])
    assert video.duration == pytest.approx(6.8)
    clip = load_video(KINDS["sound first in mp4"](tmp_path), 96, 16, start=3.0, end=3.5)
    assert clip.seconds == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-6)
