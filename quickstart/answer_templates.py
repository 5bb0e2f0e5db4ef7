"""TimeIT's answer templates: seconds with one decimal."""

from __future__ import annotations

from collections.abc import Iterable


def grounding_answer(start: float, end: float) -> str:
    """When the query happens, from `start` to `end` in seconds."""
    return f"The given query happens in {start:.1f} - {end:.1f} seconds."


def dense_captions_answer(events: Iterable[tuple[float, float, str]]) -> str:
    """All events, given as (start, end, caption) in seconds, with two spaces between them."""
    return "  ".join(f"{start:.1f} - {end:.1f} seconds, {caption}" for start, end, caption in events)
