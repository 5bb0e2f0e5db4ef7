"""Stop a run before it wastes time or spoils weights: mostly unreadable data, steps that are not finite.

A guard sees the same on every process, so that all of them stop, or none. Its state is saved in checkpoints.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from timechat.errors import TrainingError

WINDOW = 1000  # draws that count as recent
MINIMUM = 50  # draws below which a share of them means little


class SkipGuard:
    """Watches the share of recent samples that had to be replaced.

    Args:
        max_skip_ratio: `run.max_skip_ratio`.
    """

    def __init__(self, max_skip_ratio: float):
        self.max_skip_ratio = max_skip_ratio
        self.total_skipped = 0
        self._recent: deque[tuple[int, int]] = deque()

    def most_tried(self, global_batch: int) -> int | None:
        """How many positions of the stream to try for one sample; None: all of an epoch's.

        If none of so many can be used, they alone are more than the ratio allows, whatever else is in the window.

        Args:
            global_batch: samples of an optimizer step, over all processes.
        """
        if self.max_skip_ratio >= 1:
            return None
        enough = self.max_skip_ratio * global_batch / (1 - self.max_skip_ratio)
        return max(WINDOW, math.floor(enough) + 1)

    def update(self, drawn: int, skipped: int, irreplaceable: int) -> None:
        """Count one optimizer step's draws, summed over all processes, so that every process decides the same.

        Draws that stop the run do not count: the step is not done, and a resumed run draws them again.

        Args:
            drawn: samples tried, the skipped ones included.
            skipped: samples that could not be used.
            irreplaceable: samples for which no replacement was found.

        Raises:
            TrainingError: too many of the recent samples were skipped, or there is none that could be used.
        """
        window = deque([*self._recent, (drawn, skipped)])
        while sum(d for d, _ in window) - window[0][0] >= WINDOW:
            window.popleft()
        recent, bad = (sum(column) for column in zip(*window, strict=True))
        fix = "skipped.jsonl in run.output_dir names them and says why. Repair the data, or mount it again"
        if bad > self.max_skip_ratio * max(recent, MINIMUM):
            raise TrainingError(
                f"{bad} of the last {recent} samples could not be used, more than run.max_skip_ratio="
                f"{self.max_skip_ratio} allows; {fix}, or raise run.max_skip_ratio"
            )
        if irreplaceable:
            raise TrainingError(f"no sample could be used, although all of the epoch's were tried; {fix}")
        self.total_skipped += skipped
        self._recent = window

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the same on all processes."""
        return {"total_skipped": self.total_skipped, "recent": [list(pair) for pair in self._recent]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.total_skipped = state["total_skipped"]
        self._recent = deque((drawn, skipped) for drawn, skipped in state["recent"])


class NonFiniteGuard:
    """Counts the optimizer steps that were skipped because a loss or a gradient was NaN or infinite.

    Args:
        max_nonfinite: `run.max_nonfinite`, None for no limit.
    """

    def __init__(self, max_nonfinite: int | None):
        self.max_nonfinite = max_nonfinite
        self.total = 0
        self.in_a_row = 0

    def update(self, finite: bool, number: int, samples: Sequence[str] = ()) -> None:
        """Count one optimizer step.

        Args:
            finite: whether its loss and gradients were finite on all processes.
            number: of the step, from 1.
            samples: of all processes; only the main process knows them.

        Raises:
            TrainingError: `max_nonfinite` such steps in a row.
        """
        if finite:
            self.in_a_row = 0
            return
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row == self.max_nonfinite:
            named = f" (samples of the last: {', '.join(samples)})" if samples else ""
            raise TrainingError(
                f"loss or gradient was NaN or infinite in {self.in_a_row} steps in a row (run.max_nonfinite), up to "
                f"step {number}{named}. None of them changed the weights. Lower "
                "run.init_lr, set run.clip_grad_norm or run.precision=fp32, or look at the samples, which log.jsonl "
                "in run.output_dir names"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; the same on all processes."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.total, self.in_a_row = state["total"], state["in_a_row"]


class SkipList:
    """Files that a worker hung on or crashed over, which the run must not open again.

    Attributes:
        files: the reason, by dataset name and path; independent of the number of processes.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, str]] = {}

    def add(self, files: Iterable[tuple[str, str, str]]) -> None:
        """Put files on the list: (name of the dataset, path, why)."""
        for dataset, path, reason in files:
            self.files.setdefault(dataset, {})[path] = reason

    def state_dict(self) -> dict[str, dict[str, str]]:
        """What a checkpoint keeps; the same on all processes."""
        return self.files

    def load_state_dict(self, state: dict[str, dict[str, str]]) -> None:
        """Continue from a `state_dict`."""
        self.files = state
