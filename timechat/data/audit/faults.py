"""What can be wrong with an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMA = "schema"
MISSING = "missing"
POINTER = "lfs-pointer"
UNREADABLE = "unreadable"
TOO_SHORT = "too-short"
NOTHING_TO_LEARN = "nothing-to-learn"
TOO_LONG = "too-long"
BEYOND_END = "beyond-end"
START_NOT_BEFORE_END = "start-not-before-end"
DUPLICATE = "duplicate"

# What each means, the gravest first: an item with several is left out for the first of them.
FAULTS = {
    SCHEMA: "a field is missing or wrong; training refuses the file",
    MISSING: "the video does not exist",
    POINTER: "a git-lfs pointer is in the place of the video",
    UNREADABLE: "the video cannot be read",
    TOO_SHORT: "the video is shorter than --min-seconds",
    NOTHING_TO_LEARN: "model.max_txt_len truncates before the first answer",
    TOO_LONG: "model.max_txt_len truncates an answer",
    BEYOND_END: "an answer names a time after the end of the video",
    START_NOT_BEFORE_END: "an answer names an interval that does not end after its start",
    DUPLICATE: "the same video, questions and answers as an item before",
}

# Training cannot use such an item.
UNFIT = (SCHEMA, MISSING, POINTER, UNREADABLE, TOO_SHORT, NOTHING_TO_LEARN)


@dataclass(frozen=True)
class Finding:
    """A fault of an item.

    Attributes:
        number: of the item, from zero.
        fault: a key of `FAULTS`.
        detail: what was found, one line.
    """

    number: int
    fault: str
    detail: str

    def row(self, path: str) -> dict[str, Any]:
        """JSON-ready. `path`: of its video."""
        return {"item": self.number, "video": path, "fault": self.fault, "detail": self.detail}
