"""Parts of videos without encoding: copied where the copy shows what it should, else encoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.timed_videos import player_times
from helpers.video_kinds import KINDS

from timechat.data import copying
from timechat.data.copying import copy_or_rewrite
from timechat.data.frame_plan import Part
from timechat.data.rewriting import VideoJob
from timechat.datasets.readers.look import look_at

CASES = {
    "H.264 in mp4": True,
    "H.264 in mkv": True,
    "H.264 in fragments": True,
    "open groups": True,
    "H.265": True,
    "VP9": True,
    "variable rate in mp4": True,
    "cut to mp4, with sound": True,
    "edit list cuts on both sides": True,
    "sound a little first in mp4": True,
    "VP8": False,  # MP4 does not hold it
    "H.264 in mpeg-ts": False,  # cannot be entered at its key frames
    "before zero in mkv": False,
}


@pytest.mark.parametrize(("kind", "is_copy"), CASES.items())
def test_the_file_shows_the_part(kind: str, is_copy: bool, tmp_path: Path) -> None:
    source, target = KINDS[kind](tmp_path), tmp_path / "part.mp4"
    job = VideoJob(str(source), str(target), Part(0.55, 1.55))
    assert copy_or_rewrite(job, look_at(str(source)), target) == is_copy
    before, after = player_times(source), player_times(target)
    assert len(after) >= 7
    for number, times in after.items():
        # A copy begins with its first frame, at most a tenth of a second before the part.
        assert min(abs(time + 0.55 - shown) for time in times for shown in before[number]) < 0.11


def test_a_copy_that_shows_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = KINDS["H.264 in mp4"](tmp_path), tmp_path / "part.mp4"
    monkeypatch.setattr(copying, "_copy", lambda job, plan, look, temporary: shutil.copyfile(job.source, temporary))
    job = VideoJob(str(source), str(target), Part(0.55, 1.55))
    assert not copy_or_rewrite(job, look_at(str(source)), target)
    assert [*player_times(target)] == [*range(5, 16)]
