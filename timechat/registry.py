"""Name -> class, for everything that a YAML file can name.

    @registry.register_model("timechat")
    class TimeChat(nn.Module): ...

    registry.get_model_class("timechat")

There is one table for each kind of thing. A name that nobody registered is an error that lists the known ones.
Packages register their classes when they are imported; look-ups are done by the package that owns the kind, so
what it offers has been imported by then.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from timechat.errors import RegistryError

T = TypeVar("T")


def nearest(name: str, known: list[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Registry:
    """One table of names for each kind: model, builder, processor, task, runner, lr scheduler."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Any]] = {}

    def _register(self, kind: str, name: str) -> Callable[[T], T]:
        def add(cls: T) -> T:
            table = self._tables.setdefault(kind, {})
            if table.get(name, cls) is not cls:
                raise RegistryError(f"{kind} {name!r} is already registered, for {table[name]!r}; choose another name")
            table[name] = cls
            return cls

        return add

    def _get(self, kind: str, name: str) -> Any:
        table = self._tables.get(kind, {})
        if name not in table:
            known = sorted(table)
            raise RegistryError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known) or 'none'}")
        return table[name]

    def names(self, kind: str) -> list[str]:
        """The registered names of one kind, sorted."""
        return sorted(self._tables.get(kind, {}))

    def register_model(self, name: str) -> Callable[[T], T]:
        """Class decorator: a model, for `model.arch`."""
        return self._register("model", name)

    def register_builder(self, name: str) -> Callable[[T], T]:
        """Class decorator: a dataset builder, for `datasets.<name>.builder`."""
        return self._register("builder", name)

    def register_processor(self, name: str) -> Callable[[T], T]:
        """Class decorator: a processor of frames or text, for `vis_processor.train.name` and the like."""
        return self._register("processor", name)

    def register_task(self, name: str) -> Callable[[T], T]:
        """Class decorator: a task, for `run.task`."""
        return self._register("task", name)

    def register_runner(self, name: str) -> Callable[[T], T]:
        """Class decorator: a runner, for `run.runner`."""
        return self._register("runner", name)

    def register_lr_scheduler(self, name: str) -> Callable[[T], T]:
        """Class decorator: a learning-rate schedule, for `run.lr_sched`."""
        return self._register("lr scheduler", name)

    def get_model_class(self, name: str) -> Any:
        """The model registered under `name`. Raises RegistryError."""
        return self._get("model", name)

    def get_builder_class(self, name: str) -> Any:
        """The dataset builder registered under `name`. Raises RegistryError."""
        return self._get("builder", name)

    def get_processor_class(self, name: str) -> Any:
        """The processor registered under `name`. Raises RegistryError."""
        return self._get("processor", name)

    def get_task_class(self, name: str) -> Any:
        """The task registered under `name`. Raises RegistryError."""
        return self._get("task", name)

    def get_runner_class(self, name: str) -> Any:
        """The runner registered under `name`. Raises RegistryError."""
        return self._get("runner", name)

    def get_lr_scheduler_class(self, name: str) -> Any:
        """The learning-rate schedule registered under `name`. Raises RegistryError."""
        return self._get("lr scheduler", name)


registry = Registry()
