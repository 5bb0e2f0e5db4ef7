"""Stop a run whose data is mostly unreadable, before it learns from what little is left."""

from __future__ import annotations

from collections import deque
from typing import Any

from timechat.errors import TrainingError

WINDOW = 1000  # draws that count as recent
MINIMUM = 50  # draws to see before a share of them means anything


class SkipGuard:
    """Watches the share of recent samples that had to be replaced.

    Args:
        max_skip_ratio: `run.max_skip_ratio`.
    """

    def __init__(self, max_skip_ratio: float):
        self.max_skip_ratio = max_skip_ratio
        self.total_skipped = 0
        self._recent: deque[tuple[int, int]] = deque()

    def update(self, drawn: int, skipped: int, irreplaceable: int) -> None:
        """Take note of one update's draws, summed over all processes, so that every process decides the same.

        Args:
            drawn: samples tried, the skipped ones included.
            skipped: samples that could not be used.
            irreplaceable: samples for which no replacement was found.

        Raises:
            TrainingError: too many of the recent samples were skipped, or one could not be replaced.
        """
        self.total_skipped += skipped
        self._recent.append((drawn, skipped))
        while sum(d for d, _ in self._recent) - self._recent[0][0] >= WINDOW:
            self._recent.popleft()
        recent, bad = (sum(column) for column in zip(*self._recent, strict=True))
        if irreplaceable or bad > self.max_skip_ratio * max(recent, MINIMUM):
            raise TrainingError(
                f"{bad} of the last {recent} samples could not be used, more than run.max_skip_ratio="
                f"{self.max_skip_ratio} allows; skipped.jsonl in run.output_dir names them and says why. "
                "Repair the data, or raise run.max_skip_ratio"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; alike on all processes."""
        return {"total_skipped": self.total_skipped, "recent": [list(draws) for draws in self._recent]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.total_skipped = state["total_skipped"]
        self._recent = deque((drawn, skipped) for drawn, skipped in state["recent"])
