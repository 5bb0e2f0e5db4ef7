"""Training: the loop, engines, logs, checkpoints and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timechat.lazy import lazy_names

if TYPE_CHECKING:
    from timechat.runners.build import build_runner
    from timechat.runners.runner import Runner

__all__ = ["Runner", "build_runner"]

# What reads a run's records does without torch.
__getattr__, __dir__ = lazy_names(
    __name__, {"Runner": "timechat.runners.runner", "build_runner": "timechat.runners.build"}
)
