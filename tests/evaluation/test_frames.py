"""Frames are decoded beside generation: ahead of it, and not without bound."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from timechat.datasets.video import Video
from timechat.evaluation import frames
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.frames import PREFETCH, decoded
from timechat.evaluation.sharding import Clip, clips_of

CLIPS = clips_of([Question(str(i), f"{i}.mp4", "", "Who?") for i in range(8)])


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that gets a file for each video that is decoded, in whatever process."""
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("workers that do not come from a fork do not know of the stand-in")

    def load(path: Path, n_frms: int, image_size: int, **part: float | None) -> Video:
        (tmp_path / path.name).touch()
        return Video(torch.zeros(n_frms, 3, image_size, image_size, dtype=torch.uint8), [0.0] * n_frms, 1.0, 1.0)

    monkeypatch.setattr(frames, "load_video", load)
    return tmp_path


def start(workers: int) -> Iterator[tuple[Clip, Any]]:
    return decoded(CLIPS, Path("videos"), num_frames=2, image_size=28, num_workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_decode_ahead_a_few_clips(read: Path, workers: int) -> None:
    """While the first clip is worked on, just so many more get decoded."""
    clips = start(workers)
    next(clips)
    most = 1 + PREFETCH * workers
    give_up = time.monotonic() + 20
    while len(list(read.iterdir())) < most and time.monotonic() < give_up:
        time.sleep(0.01)
    time.sleep(0.2)  # for what must not come
    assert len(list(read.iterdir())) == most
    assert [clip.video for clip, _ in clips] == [f"{i}.mp4" for i in range(1, 8)]


def test_without_workers_nothing_is_decoded_ahead(read: Path) -> None:
    clips = start(0)
    clip, result = next(clips)
    assert (clip.video, result.frames.shape) == ("0.mp4", (2, 3, 28, 28))
    assert len(list(read.iterdir())) == 1
