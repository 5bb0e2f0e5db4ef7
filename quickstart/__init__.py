"""The quick start: a guest of TimeChat, which trains and asks a tiny one on rendered videos.

A config takes it in with `import: [quickstart]`; this module registers its models, dataset builders and task.
"""

from __future__ import annotations

from quickstart import builders, frame_classifier, frame_reader, small_timechat, task

__all__ = ["builders", "frame_classifier", "frame_reader", "small_timechat", "task"]
