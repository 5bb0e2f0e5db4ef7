"""The memory for encoded videos is bounded, and the ones that were asked about last stay."""

from __future__ import annotations

import torch

from timechat.app.api import EncodedVideo
from timechat.app.server.cache import VideoCache


def video(values: int) -> EncodedVideo:
    return EncodedVideo(torch.zeros(values, 1), None)


def test_the_oldest_goes_first() -> None:
    cache = VideoCache(100)
    first, second, third = video(10), video(10), video(10)
    cache.put(("video", "1"), first)
    cache.put(("video", "2"), second)
    assert cache.get(("video", "1")) is first
    cache.put(("video", "3"), third)
    assert cache.get(("video", "2")) is None
    assert cache.get(("video", "1")) is first
    assert cache.get(("video", "3")) is third
    assert (len(cache), cache.size) == (2, 80)


def test_one_that_is_too_large_replaces_nothing() -> None:
    cache = VideoCache(100)
    cache.put(("video", "1"), video(10))
    cache.put(("video", "2"), video(26))
    cache.put(("video", "1"), video(20))
    assert (len(cache), cache.size) == (1, 40)


def test_all_the_memory_that_a_video_keeps_is_counted() -> None:
    cache = VideoCache(1000)
    cache.put(("video", "part"), EncodedVideo(torch.zeros(100, 1)[:1], [0.0, 1.0]))
    assert cache.size == 400 + 2 * 32


def test_a_file_is_another_thing_as_an_image() -> None:
    cache = VideoCache(100)
    cache.put(("video", "1"), video(1))
    assert cache.get(("image", "1")) is None
