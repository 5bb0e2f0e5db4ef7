"""Tasks: what a training step is."""

from __future__ import annotations

from timechat.registry import registry
from timechat.tasks.instruction import InstructionTask

__all__ = ["InstructionTask", "build_task"]


def build_task(name: str) -> InstructionTask:
    """The task registered under `name`. Raises RegistryError."""
    return registry.get_task_class(name)()
