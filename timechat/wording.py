"""Words of messages."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """How many there are: `1 video`, `12,000 videos`.

    Args:
        number: of them.
        one: what one is called; a verb may follow, as in "entry needs".
        many: what others are called; by default the same with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def in_bytes(count: float) -> str:
    """A size: `12 bytes`, `3.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
