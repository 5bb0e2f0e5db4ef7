"""Tasks: what a training step is."""

from __future__ import annotations

from timechat.registry import registry
from timechat.tasks.base import Task
from timechat.tasks.frame_classification import FrameClassificationTask
from timechat.tasks.instruction import InstructionTask

__all__ = ["FrameClassificationTask", "InstructionTask", "Task", "build_task"]


def build_task(name: str) -> Task:
    """The task registered under `name`. Raises RegistryError."""
    return registry.get_task_class(name)()
