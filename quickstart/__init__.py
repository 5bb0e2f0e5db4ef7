"""The quick start: an extension of TimeChat that trains and evaluates a tiny model on rendered videos.

A config loads it with `import: [quickstart]`; this module registers its models, dataset builders and task.
"""

from __future__ import annotations

from quickstart import builders, frame_classifier, frame_reader, small_timechat, task

__all__ = ["builders", "frame_classifier", "frame_reader", "small_timechat", "task"]
