"""What a time looks like, and what counts something else."""

from __future__ import annotations

import pytest

from timechat.evaluation.times import blank_others, clean, find_times, link_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", [12.0]),
        ("12.5 s", [12.5]),
        ("12.5  seconds", [12.5]),
        ("0012.50", [12.5]),
        ("1:09", [69.0]),
        ("1:02:03.5", [3723.5]),
        ("00:00:03,500 --> 00:00:08,250", [3.5, 8.25]),
        ("2 minutes", [120.0]),
        ("1 min 20 s", [80.0]),
        ("1h02m03s", [3723.0]),
        ("1 hour 2 minutes", [3720.0]),
        ("2 hours", [7200.0]),
        ("the 12th second", [12.0]),
        ("the 2nd step", []),
        ("2 horses", [2.0]),
        # Commas.
        ("12,5 s", [12.5]),
        ("0:03,5 - 0:08,25", [3.5, 8.25]),
        ("0:03,0:08", [3.0, 8.0]),
        ("3,2 - 8,1", [3.2, 8.1]),
        ("3,25 to 8,15 seconds", [3.25, 8.15]),
        ("1,3, 1,7", [1.3, 1.7]),
        ("12.0,19.4", [12.0, 19.4]),
        ("82,84 second", [82.0, 84.0]),
        ("82,84,86", [82.0, 84.0, 86.0]),
        ("5,9", [5.0, 9.0]),
        ("[5,9] seconds", [5.0, 9.0]),
        ("1,200", [1200.0]),
        ("1,200.5 - 12,300", [1200.5, 12300.0]),
        ("[100,200]", [100.0, 200.0]),
        ("100,200", [100.0, 200.0]),
    ],
)
def test_times(text: str, seconds: list[float]) -> None:
    assert [time.seconds for time in find_times(clean(text))] == seconds


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("frame 12", []),
        ("Frames 12 to 30", []),
        ("frames 12-30 (5.0 - 10.0 s)", [5.0, 10.0]),
        ("frames 12, 15 and 18 at 5 s", [5.0]),
        ("frame numbers 12 and 30", []),
        ("frame #12", []),
        ("start_frame: 12, end_frame: 30", []),
        ("from frame 12 (0.5 s) to frame 30 (1.2 s)", [0.5, 1.2]),
        ("frame 12, 5 seconds", [5.0]),
        ("frame at 0:12", [12.0]),
        ("the 12th frame, 30 frames, 25 fps", []),
        ("2-4 frames", []),
        ("5 to 9 seconds, 30 frames", [5.0, 9.0]),
        ("50%", []),
        ("10 to 15 percent", []),
        ("from 10% to 12.5 per cent", []),
        ("between 10 and 15%", []),
        ("40%-60%, 12.0-19.0 s", [12.0, 19.0]),
        ("from 1/3 to 2/3 of the video", []),
        ("0.5 of the clip", []),
        ("0.5 to 0.75 of the 30-second video", []),
        ("fraction 0.2 to 0.4", []),
        ("0.5 seconds of the clip", [0.5]),
        ("12 of the video", [12.0]),
        ("relative to 12.5 s", [12.5]),
        ("from 5 to 9 and 50%", [5.0, 9.0]),
        ("framed 12", [12.0]),
        ("5 - 9, 50 people", [5.0, 9.0, 50.0]),
    ],
)
def test_frames_and_percentages_are_blanked_out(text: str, left: list[float]) -> None:
    blanked = blank_others(clean(text))
    assert len(blanked) == len(clean(text))
    assert [time.seconds for time in find_times(blanked)] == left


@pytest.mark.parametrize(
    ("gap", "link"),
    [
        (" - ", "-"),
        (" seconds - about ", "-"),
        ("s) and the (", "and"),
        (" to ~", "to"),
        ("~", "~"),
        (". up to ", "up to"),
        ("** -> **", "->"),
        (", ", ","),
        ("\n- ", "\n -"),
        (" people to ", "people to"),
        (" 2nd - ", "2 nd -"),
    ],
)
def test_links(gap: str, link: str) -> None:
    assert link_of(gap) == link
