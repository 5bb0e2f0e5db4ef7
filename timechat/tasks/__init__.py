"""Tasks: what a training step is."""

from __future__ import annotations

from omegaconf import DictConfig

from timechat.registry import registry
from timechat.tasks.base import Task
from timechat.tasks.instruction import InstructionTask

__all__ = ["InstructionTask", "Task", "build_task"]


def build_task(cfg: DictConfig) -> Task:
    """The task that `run.task` names. Raises RegistryError."""
    return registry.get_task_class(cfg.run.task)(cfg)
