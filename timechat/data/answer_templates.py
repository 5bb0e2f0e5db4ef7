"""TimeIT's answer templates, to the letter (Ren et al., CVPR 2024, and the published construction of TimeIT).

Times are seconds. They have one decimal, and so have scores; only DiDeMo's times are whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Window = tuple[float, float]


def number_text(value: float) -> str:
    """With one decimal: `6.94` -> "6.9"."""
    return f"{value:.1f}"


def grounding_answer(start: float, end: float) -> str:
    """When the query happens, from `start` to `end` in seconds; both are printed, also if they are the same."""
    return f"The given query happens in {number_text(start)} - {number_text(end)} seconds."


def moments_answer(windows: Sequence[Window], *, whole: bool = False) -> str:
    """When the query happens; a window that prints the same time twice is printed as one time.

    Args:
        windows: (start, end). Several of them, for which TimeIT has no template, are joined by commas.
        whole: print whole seconds, as in DiDeMo's answers.
    """
    times = ", ".join(_window_text(start, end, whole) for start, end in windows)
    return f"The given query happens in {times} seconds."


def is_instant(start: float, end: float) -> bool:
    """Whether a window prints the same time twice: its question must not ask for a start and an end."""
    return number_text(start) == number_text(end)


def dense_captions_answer(events: Iterable[tuple[float, float, str]]) -> str:
    """All events, given as (start, end, caption) in seconds, with two spaces between them."""
    return "  ".join(f"{number_text(start)} - {number_text(end)} seconds, {caption}" for start, end, caption in events)


def chapters_answer(chapters: Iterable[tuple[float, str]]) -> str:
    """All chapters, given as (start, title) in seconds, as ViTT's: without an end."""
    return "  ".join(f"{number_text(start)} seconds, {title}" for start, title in chapters)


def transcribed_speech(segments: Iterable[tuple[float, float, str]]) -> str:
    """What is said when, as (start, end, sentence) in seconds; also the form in which speech is added to a question."""
    told = " ".join(f"{number_text(start)} - {number_text(end)} seconds, {text}" for start, end, text in segments)
    return f"Transcribed speech: {told or 'None.'}"


def highlights_answer(highlights: Sequence[tuple[float, float]]) -> str:
    """Highlights of a query, as (second, saliency)."""
    times, scores = _listed(highlights)
    return f"There are {len(highlights)} highlight moments in the {times} second. Their saliency scores are {scores}."


def summary_answer(highlights: Sequence[tuple[float, float]]) -> str:
    """The moments of a summary, as (second, importance)."""
    times, scores = _listed(highlights)
    return f"The highlight timestamps are in the {times} seconds. Their saliency scores are {scores}."


def sentence(text: str) -> str:
    """A caption as the templates end it: with one full stop, unless it ends in another mark; without `#`."""
    plain = " ".join(text.replace("#", "").split())
    return plain if plain.endswith(("!", "?")) else f"{plain.rstrip('. ')}."


def quoted(query: str) -> str:
    """A query as questions hold it: in single quotes, without full stops around it and without `#`."""
    return f"'{' '.join(query.replace('#', '').split()).strip('. ')}'"


def _window_text(start: float, end: float, whole: bool) -> str:
    if whole:
        return f"{start:.0f} - {end:.0f}"
    return number_text(start) if is_instant(start, end) else f"{number_text(start)} - {number_text(end)}"


def _listed(highlights: Sequence[tuple[float, float]]) -> tuple[str, str]:
    times, scores = zip(*highlights, strict=True)
    return ", ".join(map(number_text, times)), ", ".join(map(number_text, scores))
