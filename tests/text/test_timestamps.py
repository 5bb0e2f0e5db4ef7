"""Seconds -> sentences, exact."""

from __future__ import annotations

import numpy as np
import pytest

from timechat.text.timestamps import frame_sentence, video_sentence


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (2.0, "2.0"),
        (0, "0.0"),
        (2.04, "2.0"),
        (2.06, "2.1"),
        (1234.56, "1234.6"),
        (0.25, "0.2"),
        (np.float64(3.3), "3.3"),
    ],
)
def test_one_decimal(seconds: float, printed: str) -> None:
    assert frame_sentence(seconds) == f"This frame is sampled at {printed} second."


def test_video_sentence_ends_in_a_space() -> None:
    assert video_sentence([0.0, 2.1]) == "The video contains 2 frames sampled at 0.0, 2.1 seconds. "
    assert video_sentence([5]) == "The video contains 1 frames sampled at 5.0 seconds. "
