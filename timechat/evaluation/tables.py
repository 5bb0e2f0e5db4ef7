"""Tables as plain text for a terminal and as Markdown for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MISSING = "-"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, a line under the head."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for Markdown; what a cell holds cannot break the table."""
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def number(value: Any, spread: float | None = None) -> str:
    """A score with two decimals, "62.10 ± 2.70" where its spread is known, "-" for None; other things as they are."""
    if value is None:
        return MISSING
    shown = f"{value:.2f}" if isinstance(value, float) else str(value)
    return shown if spread is None else f"{shown} ± {spread:.2f}"
