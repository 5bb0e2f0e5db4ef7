"""Captions beside their bars: wrapped, shortened, and never on top of each other."""

from __future__ import annotations

import itertools

import pytest

from timechat.evaluation.event_rows import GAP, MAX_CAPTION, MAX_ROWS, PADDING, place_events, shorten

measure = len  # each character is one unit wide


def wide(text: str) -> float:
    return 7.0 * len(text)


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert shorten("add the salt", 12, measure) == "add the salt"
    assert shorten("", 12, measure) == ""


def test_a_long_text_is_wrapped_between_words_and_ends_in_an_ellipsis() -> None:
    assert shorten("add the salt and stir", 12, measure, 2) == "add the salt\nand stir"
    assert shorten("add the salt and stir it well", 12, measure, 2) == "add the salt\nand stir it…"
    assert shorten("add the salt and stir", 10, measure) == "add the…"
    assert shorten("add the salt", 8, measure) == "add the…"


def test_a_script_without_spaces_is_cut_within_words() -> None:
    assert shorten("洋葱切成小块然后放进锅里", 5, measure, 2) == "洋葱切成小\n块然后放…"
    assert shorten("洋葱切成小块", 3, measure, 2) == "洋葱切\n成小块"


def test_line_breaks_and_control_characters_do_not_reach_the_picture() -> None:
    assert shorten("stir\n\nit\x00\x1b well", 40, measure) == "stir it well"


def test_no_room_gives_no_text() -> None:
    assert shorten("salt", 0, measure) == ""
    assert shorten("salt", 1, measure) == "…"


def test_captions_stand_inside_long_bars_and_beside_short_ones() -> None:
    rows = place_events([(0.0, 50.0), (52.0, 54.0)], ["stir", "salt"], 100.0, 1000.0, wide)
    assert [(event.text, event.left) for event in rows.events] == [("stir", PADDING), ("salt", 540 + PADDING)]
    assert rows.lines == [1]
    edge = place_events([(95.0, 100.0)], ["serve the dish"], 100.0, 1000.0, wide).events[0]
    assert edge.left + wide(edge.text) == pytest.approx(950 - PADDING)


def test_events_that_would_meet_take_rows_of_their_own() -> None:
    overlapping = place_events([(0.0, 60.0), (10.0, 70.0), (60.0, 99.0)], [], 100.0, 1000.0, wide)
    assert [event.row for event in overlapping.events] == [0, 1, 0]
    assert overlapping.lines == [0, 0]
    captions = place_events([(0.0, 1.0), (2.0, 3.0), (30.0, 31.0)], ["a long caption"] * 3, 100.0, 1000.0, wide)
    assert [event.row for event in captions.events] == [0, 1, 0]


@pytest.mark.parametrize("count", [1, 7, 60])
def test_nothing_overlaps_and_everything_is_drawn(count: int) -> None:
    intervals = [(i * 90.0 / count, i * 90.0 / count + 1 + (i * 7) % 10) for i in range(count)]
    captions = [
        ("Pour the chopped onions into the pan and stir them until golden " * 3)[: 5 + 13 * i] for i in range(count)
    ]
    rows = place_events(intervals, captions, 100.0, 900.0, wide)
    assert [(event.start, event.end) for event in rows.events] == intervals
    assert len(rows.lines) <= MAX_ROWS + 1
    shown = [event for event in rows.events if event.row < MAX_ROWS]
    assert rows.left_out == sum(not event.text for event in rows.events)
    boxes = []
    for event in shown:
        lines = event.text.splitlines()
        assert 1 <= len(lines) <= rows.lines[event.row]
        assert max(map(wide, lines)) <= MAX_CAPTION
        text = (event.left, event.left + max(map(wide, lines)))
        assert 0 <= text[0] < text[1] <= 900
        boxes.append((event.row, min(text[0], event.start * 9), max(text[1], event.end * 9)))
    boxes.sort()
    for (row, _, end), (next_row, start, _) in itertools.pairwise(boxes):
        assert row != next_row or start >= end - 1e-6
    if count == 60:
        assert rows.left_out > 0


def test_the_next_event_keeps_its_distance_from_a_caption() -> None:
    end_of_caption = 10 + PADDING + wide("salt")
    for distance, row in ((GAP - 1, 1), (GAP, 0)):
        start = (end_of_caption + distance) / 10
        rows = place_events([(0.0, 1.0), (start, start + 1)], ["salt", "stir"], 100.0, 1000.0, wide)
        assert rows.events[1].row == row


def test_no_events_still_take_one_row() -> None:
    rows = place_events([], [], 100.0, 1000.0, wide)
    assert (rows.events, rows.lines, rows.left_out) == ([], [0], 0)
