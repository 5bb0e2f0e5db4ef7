"""What the page shows, as HTML: every time in its place, and nobody's words as markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from timechat.app.answer import Answer, Segment
from timechat.app.web import markup
from timechat.app.web.session import Exchange
from timechat.app.web.uploads import Media
from timechat.datasets.video import Video

EVIL = "<img src=x onerror=alert(1)>\"'"
VIDEO = Media("token", Path("token.mp4"), f"{EVIL}.mp4", 0.0)


def exchange(*segments: Segment, text: str = "said", question: str = "asked", task: str | None = None) -> Exchange:
    return Exchange(question, task, text, Answer(text, list(segments)), token="t")


def places(html: str, of: str) -> list[tuple[float, float]]:
    """data-start and data-end of the buttons of a class."""
    found = re.findall(rf'<button[^>]*class="{of}"[^>]*data-start="([\d.]+)" data-end="([\d.]+)"', html)
    return [(float(start), float(end)) for start, end in found]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.04, "0:07"), (59.96, "1:00"), (750.5, "12:30.5"), (3723, "1:02:03"), (-1, "0:00")],
)
def test_clock(seconds: float, text: str) -> None:
    assert markup.clock(seconds) == text


def test_nobodys_words_are_markup() -> None:
    segment = Segment(1, 2, EVIL)
    asked = exchange(segment, text=EVIL, question=EVIL)
    failed = Exchange(EVIL, "ground", EVIL, problem=EVIL)
    pages = [
        markup.player(VIDEO, 1000),
        markup.timeline(asked, 9),
        markup.conversation([asked, failed]),
        markup.conversation([], [EVIL]),
        markup.examples([(VIDEO, None)]),
        markup.alert(EVIL),
        markup.note(EVIL),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


def test_each_segment_has_a_chip_and_a_bar() -> None:
    html = markup.timeline(exchange(Segment(30, 36, "cross"), Segment(60, 90)), 120)
    assert places(html, "tc-chip") == places(html, "tc-bar") == [(30, 36), (60, 90)]
    assert "left:25.000%;width:5.000%" in html
    assert 'aria-label="Play 0:30 to 0:36, cross"' in html
    assert "0:30 – 0:36" in html
    assert html.count("<span>cross</span>") == 1
    for kind in ("json", "srt", "md", "zip"):
        assert f'href="timechat/answers/t.{kind}"' in html


def test_a_moment_is_played_for_a_while() -> None:
    html = markup.timeline(exchange(Segment(5, 5)), 60)
    assert places(html, "tc-bar") == [(5, 7)]
    assert ">0:05<" in html


def test_a_time_behind_the_end_stays_in_the_picture() -> None:
    html = markup.timeline(exchange(Segment(50, 200)), 100)
    assert 'data-duration="200.000"' in html
    assert "left:25.000%;width:75.000%" in html


def test_no_segments_no_timeline() -> None:
    assert markup.timeline(exchange(), 9) == ""
    assert markup.timeline(None, 9) == ""
    assert markup.timeline(Exchange("q", None, "half"), 9) == ""


def test_bars_do_not_cover_each_other() -> None:
    segments = [Segment(0, 10), Segment(5, 8), Segment(8, 12), Segment(10, 11), Segment(20, 21)]
    assert markup.lanes_of(segments) == [0, 1, 1, 0, 0]


def test_highlights_are_a_curve() -> None:
    html = markup.timeline(exchange(Segment(10, 10, "", 2.0), Segment(20, 20, "", 4.0)), 40)
    assert 'aria-label="Saliency of 2 moments, up to 4"' in html
    (points,) = re.findall(r'polyline points="([^"]+)"', html)
    heights = {float(x): float(y) for x, y in (point.split(",") for point in points.split())}
    assert heights[55.0] == 38  # behind the second moment nothing is named
    assert {25.0, 30.0, 50.0, 55.0} <= set(heights)  # 10 to 12 s and 20 to 22 s of 40
    assert "25.00,20.00" in points
    assert "50.00,2.00" in points
    assert "<small>4</small>" in html


def test_frames_lead_to_their_seconds() -> None:
    video = Video(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), [0.0, 1.5, 3.0], 1.0, 4.5)
    html = markup.frames(video)
    assert re.findall(r'data-start="([\d.]+)"', html) == ["0.000", "1.500", "3.000"]
    assert html.count("data:image/jpeg;base64,") == 3
    assert 'aria-label="Go to 0:01.5"' in html
    picture = Video(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [0.0], 0.0, 0.0)
    assert markup.frames(picture) == ""


def test_an_answer_that_grows() -> None:
    waiting, growing = Exchange("q", "caption"), Exchange("q", None, "0.5 - 1")
    assert "Looking at the video" in markup.conversation([waiting])
    assert "Describe with times" in markup.conversation([waiting])
    assert "tc-busy" in markup.conversation([growing])
    assert "tc-busy" not in markup.conversation([exchange()])
    stopped = exchange()
    stopped.stopped = True
    assert ">stopped<" in markup.conversation([stopped])
    assert 'role="alert"' in markup.conversation([Exchange("q", None, "", problem="no")])


def test_an_image_has_no_player() -> None:
    html = markup.player(Media("t", Path("t.png"), "cat.png", 0.0), 1000)
    assert '<img class="tc-video" src="timechat/video/t" alt="cat.png">' in html
    assert "<video" not in html


@pytest.mark.parametrize("length", [0.4, 3, 12, 96, 240, 4000, 90000])
def test_ticks_are_few(length: float) -> None:
    html = markup.timeline(exchange(Segment(0, 0.1)), length)
    ticks = re.findall(r'<span style="left:([\d.]+)%">', html)
    assert 1 <= len(ticks) <= markup.MOST_TICKS + 1
    assert all(0 <= float(tick) <= 100 for tick in ticks)
