"""Pictures of answers: what is in them, for every kind of answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.videos import write_video
from matplotlib.figure import Figure
from PIL import Image

from timechat.app.answer import Answer, Segment
from timechat.app.timeline import NOTHING, STRIP_FRAMES, draw_timeline, frame_strip
from timechat.datasets.video import load_video
from timechat.errors import ConfigError


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text()]


def test_segments_are_bars_with_their_captions(tmp_path: Path) -> None:
    answer = Answer("", [Segment(3.0, 5.0, "cut the bread."), Segment(4.0, 9.5, "fry | it $now$.")])
    figure = draw_timeline(answer, 20.0, tmp_path / "new" / "a.png")
    (axis,) = figure.axes
    assert sorted((bar.get_x(), bar.get_width()) for bar in axis.patches) == [(3.0, 2.0), (4.0, 5.5)]
    assert len({bar.get_y() for bar in axis.patches}) == 2  # they overlap
    assert texts(figure) == ["cut the bread.", "fry | it $now$."]
    assert axis.get_xlim() == (0, 20)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.width > 800


def test_an_answer_beyond_the_end_and_a_video_without_length_are_drawn() -> None:
    figure = draw_timeline(Answer("", [Segment(3.0, 25.0), Segment(24.0, 24.0)]), 20.0)
    assert figure.axes[0].get_xlim() == (0, 25)
    assert len(figure.axes[0].patches) == 2
    assert draw_timeline(Answer(""), 0.0).axes[0].get_xlim() == (0, 1)


def test_highlights_are_a_curve_of_their_saliency() -> None:
    moments = [Segment(6.0, 6.0, "frying", 3.0), Segment(4.0, 4.0, "frying", 1.5)]
    (axis,) = draw_timeline(Answer("", moments), 10.0).axes
    assert [tuple(point) for point in axis.lines[0].get_xydata()] == [(4.0, 1.5), (6.0, 3.0)]
    assert axis.get_title(loc="left") == "frying"
    assert axis.get_ylim()[1] > 3.0
    both = draw_timeline(Answer("", [*moments, Segment(1.0, 2.0, "a part")]), 10.0)
    assert len(both.axes) == 2
    draw_timeline(Answer("", [Segment(1.0, 1.0, "", 0.0)]), 10.0)  # no height at all


def test_an_answer_without_segments_says_so() -> None:
    assert texts(draw_timeline(Answer("It is dark."), 10.0)) == [NOTHING]


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1.0])
def test_a_duration_that_is_none_is_refused(duration: float) -> None:
    with pytest.raises(ConfigError, match="duration is"):
        draw_timeline(Answer(""), duration)


# Frames --------------------------------------------------------------------------------------------------------------


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_each_frame_stands_above_its_second(tmp_path: Path) -> None:
    video = load_video(write_video(tmp_path / "v.mp4"), n_frms=10, image_size=32)
    figure = frame_strip(video.frames, video.seconds, tmp_path / "strip.png")
    assert titles(figure) == [f"{second:.1f} s" for second in video.seconds]
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert [int(picture[0, 0, 0]) for picture in shown] == video.frames[:, 0, 0, 0].tolist()
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.width > 800
    assert titles(frame_strip(video.frames[:1], [0.0])) == ["0.0 s"]


def test_of_many_frames_some_are_shown() -> None:
    frames = torch.zeros(96, 3, 4, 4, dtype=torch.uint8)
    shown = titles(frame_strip(frames, [float(second) for second in range(96)]))
    assert len(shown) == STRIP_FRAMES
    assert (shown[0], shown[-1]) == ("0.0 s", "95.0 s")


@pytest.mark.parametrize(
    ("frames", "count"),
    [
        (torch.zeros(2, 3, 4, 4), 2),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), 3),
        (torch.zeros(0, 3, 4, 4, dtype=torch.uint8), 0),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), 3),
    ],
)
def test_frames_that_cannot_be_shown_are_refused(frames: torch.Tensor, count: int) -> None:
    with pytest.raises(ConfigError, match="as load_video does"):
        frame_strip(frames, [0.0] * count)
