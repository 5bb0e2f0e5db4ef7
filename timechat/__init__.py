"""TimeChat: a language model that answers questions about long videos, with times.

import timechat
model = timechat.load("eval_configs/timechat.yaml")
print(model.ask("v.mp4", "When does she crack the egg?"))
timechat.score("charades_sta", "predictions.jsonl", "charades_sta_test.txt")  # of this model or of any other
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timechat.app.answer import Answer, Segment
    from timechat.app.api import load
    from timechat.evaluation.scoring import score

__all__ = ["Answer", "Segment", "load", "score"]

_HOMES = {
    "Answer": "timechat.app.answer",
    "Segment": "timechat.app.answer",
    "load": "timechat.app.api",
    "score": "timechat.evaluation.scoring",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch and its friends take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
