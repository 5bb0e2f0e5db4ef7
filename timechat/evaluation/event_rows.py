"""Events with captions laid out on a time axis: which row each bar takes, and where its caption stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Interval = tuple[float, float]

MAX_LINES = 2  # of a caption
MAX_ROWS = 8  # rows with captions, of the true and of the predicted events
MAX_CAPTION = 300.0  # pixels of a line that stands beside its bar
MIN_CAPTION = 40.0  # pixels; in less room no caption can be read
PADDING = 5.0  # pixels between a bar's edge and its caption
GAP = 10.0  # pixels between a caption and the next event
ELLIPSIS = "…"


@dataclass(frozen=True)
class PlacedEvent:
    """One bar and its caption.

    Attributes:
        start, end: in seconds.
        row: counted from the top.
        text: the caption, wrapped and shortened; empty where it has none or no room.
        left: where the text begins, in pixels from the beginning of the axis.
    """

    start: float
    end: float
    row: int
    text: str
    left: float


@dataclass(frozen=True)
class EventRows:
    """The true or the predicted events of a video.

    Attributes:
        events: in order of time.
        lines: lines of text in each row, 0 in rows without captions; one row at least.
        left_out: how many captions are not shown because there are too many.
    """

    events: list[PlacedEvent]
    lines: list[int]
    left_out: int


def shorten(text: str, room: float, measure: Callable[[str], float], max_lines: int = 1) -> str:
    """The text in lines no wider than `room`, the last one with an ellipsis where not all of it fits.

    Args:
        text: any text; line breaks count as spaces, control characters are dropped.
        room: width of a line, in the unit of `measure`.
        measure: the width of a text.
        max_lines: how many lines there may be.

    Returns:
        The lines, joined by line breaks; nothing where not even an ellipsis fits.
    """
    words = readable(text).split()
    if measure(ELLIPSIS) > room:
        return ""
    lines: list[str] = []
    while words and len(lines) < max_lines:
        line = ""
        while words and measure(f"{line} {words[0]}".strip()) <= room:
            line = f"{line} {words.pop(0)}".strip()
        if not line:  # a word that is longer than a line: scripts without spaces have no others
            size = _longest_prefix(words[0], room, measure)
            line, words[0] = words[0][:size], words[0][size:]
        lines.append(line)
    if words:
        last = lines[-1]
        while last and measure(last + ELLIPSIS) > room:
            last = last[:-1].rstrip()
        lines[-1] = last + ELLIPSIS
    return "\n".join(lines)


def readable(text: str) -> str:
    """The text on one line, without control characters."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def place_events(
    intervals: Sequence[Interval],
    captions: Sequence[str],
    seconds: float,
    width: float,
    measure: Callable[[str], float],
) -> EventRows:
    """Give each event the first row in which neither its bar nor its caption meets another one.

    A caption stands inside its bar if all of it fits there, else beside it; one line is better than two. A caption that
    has to be shortened takes the place with more room. Events that would need more than `MAX_ROWS` rows share one more,
    without captions.

    Args:
        intervals: start and end of each event, in seconds.
        captions: one per event, or none at all.
        seconds: the length of the axis.
        width: the same in pixels.
        measure: the width of a text in pixels.
    """
    captions = list(captions) or [""] * len(intervals)
    taken: list[list[Interval]] = []
    events, left_out = [], 0
    for (start, end), caption in sorted(zip(intervals, captions, strict=True), key=lambda event: event[0]):
        bar = (start * width / seconds, end * width / seconds)
        text, left, extent = _place_caption(caption, bar, width, measure)
        row = _free_row(taken, extent)
        if row >= MAX_ROWS:
            left_out += bool(text)
            text, row = "", MAX_ROWS
        taken += [[] for _ in range(row + 1 - len(taken))]
        taken[row].append(extent)
        events.append(PlacedEvent(start, end, row, text, left))
    lines = [0] * max(1, len(taken))
    for event in events:
        lines[event.row] = max(lines[event.row], len(event.text.splitlines()))
    return EventRows(events, lines, left_out)


def _place_caption(
    caption: str, bar: Interval, width: float, measure: Callable[[str], float]
) -> tuple[str, float, Interval]:
    """The caption as it is written, where it begins, and what bar and caption take together, in pixels."""
    start, end = bar
    inside, right, left = end - start - 2 * PADDING, width - end - PADDING, start - PADDING
    beside = min(max(right, left), MAX_CAPTION)
    if not readable(caption) or max(inside, beside) < MIN_CAPTION:
        return "", start, bar
    places = [(room, lines) for lines in range(1, MAX_LINES + 1) for room in (inside, beside)]
    whole = (place for place in places if not _is_cut(caption, *place, measure))
    room, lines = next(whole, (max(inside, beside), MAX_LINES))
    text = shorten(caption, room, measure, lines)
    if room == inside:
        return text, start + PADDING, bar
    longest = max(map(measure, text.splitlines()))
    if right >= min(left, longest):
        return text, end + PADDING, (start, end + PADDING + longest + GAP)
    return text, start - PADDING - longest, (start - PADDING - longest - GAP, end)


def _is_cut(caption: str, room: float, lines: int, measure: Callable[[str], float]) -> bool:
    """Whether so many lines are too few, or break a word."""
    return shorten(caption, room, measure, lines).split() != readable(caption).split()


def _free_row(taken: Sequence[Sequence[Interval]], extent: Interval) -> int:
    for row, extents in enumerate(taken):
        if all(extent[1] <= start or end <= extent[0] for start, end in extents):
            return row
    return len(taken)


def _longest_prefix(word: str, room: float, measure: Callable[[str], float]) -> int:
    """How many characters of the word fit, one at least."""
    size = 1
    while size < len(word) and measure(word[: size + 1]) <= room:
        size += 1
    return size
