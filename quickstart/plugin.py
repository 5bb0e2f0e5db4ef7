"""What the quick start registers: its models, dataset builders and task."""

from __future__ import annotations

from quickstart import builders, frame_classifier, frame_reader, small_timechat, task

__all__ = ["builders", "frame_classifier", "frame_reader", "small_timechat", "task"]
