"""Reading back, frame by frame, what was written anew from a video of numbered pictures."""

from __future__ import annotations

from pathlib import Path

from helpers.timed_videos import number_of, player_times
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import load_video

HERE = ReaderSettings(timeout_s=None)

# Seconds by which a frame may come before its time: containers round to milliseconds.
ROUNDING_S = 2e-3


def numbers_and_seconds(path: Path) -> list[tuple[int, float]]:
    """What all pictures of a video say, and when they are shown: as training reads them."""
    video = load_video(path, 1000, 56, settings=HERE)
    pictures = video.frames.permute(0, 2, 3, 1).numpy()
    return [(number_of(picture), second) for picture, second in zip(pictures, video.seconds, strict=True)]


def wrong_frames(original: Path, new: Path, begin: float = 0.0) -> list[str]:
    """Frames of a new video that a player of the original does not show at the same time, one line each.

    Args:
        original, new: the files.
        begin: where the new one begins, seconds of the original.
    """
    shown = sorted((second, number) for number, seconds in player_times(original).items() for second in seconds)
    wrong = []
    for number, second in numbers_and_seconds(new):
        candidates = {_shown_at(shown, begin + second + off) for off in (-ROUNDING_S, ROUNDING_S)}
        if number not in candidates:
            wrong.append(f"picture {number} at {second:.3f} s, where players show {candidates}")
    return wrong


def _shown_at(shown: list[tuple[float, int]], second: float) -> int:
    """The picture on display; the first one before it comes."""
    return next((number for start, number in reversed(shown) if start <= second), shown[0][1])
