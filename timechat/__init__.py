"""TimeChat: a language model that answers questions about long videos, with times.

import timechat
model = timechat.load("eval_configs/timechat.yaml")
print(model.ask("v.mp4", "When does she crack the egg?"))
timechat.score("charades_sta", "predictions.jsonl", "charades_sta_test.txt")  # of this model or of any other
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timechat.lazy import lazy_names

if TYPE_CHECKING:
    from timechat.app.answer import Answer, Segment
    from timechat.app.api import load
    from timechat.evaluation.scoring import score

__all__ = ["Answer", "Segment", "load", "score"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Answer": "timechat.app.answer",
        "Segment": "timechat.app.answer",
        "load": "timechat.app.api",
        "score": "timechat.evaluation.scoring",
    },
)
