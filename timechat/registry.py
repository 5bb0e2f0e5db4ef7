"""Name -> class, for everything that a YAML file or a command line can name.

    @registry.register_model("timechat", config=TimeChatConfig)
    class TimeChat(nn.Module): ...

    registry.get_model_class("timechat")

There is one table for each kind of thing. What is registered brings the schema of its keys, `config`; a subclass that
gives none has its parent's. Some keys of models, builders, runners and learning-rate schedules are read by others, too:
their schemas derive from those in `_BASES`. What this package offers registers itself when a kind is first asked for,
like the plug-ins of other packages (`timechat/plugins.py`). An unknown name is an error that lists the known ones.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from timechat.errors import RegistryError
from timechat.plugins import load_installed
from timechat.schema import Section

T = TypeVar("T")

KINDS = ("model", "builder", "processor", "task", "runner", "lr scheduler", "engine", "benchmark")

# Which modules of this package register things of a kind; they are imported when the kind is first looked at.
_PROVIDERS = {
    "model": ("timechat.models",),
    "builder": ("timechat.datasets.builders", "timechat.datasets.shards.builder"),
    "processor": ("timechat.datasets.processors",),
    "task": ("timechat.tasks",),
    "runner": ("timechat.runners.runner",),
    "lr scheduler": ("timechat.runners.schedules",),
    "engine": ("timechat.runners.engines",),
    "benchmark": ("timechat.evaluation.benchmarks",),
}

# The keys that everything of a kind has, because others read them.
_BASES = {
    "model": "timechat.models.config:VideoEncoderConfig",
    "builder": "timechat.datasets.config:DatasetConfig",
    "runner": "timechat.runners.config:RunnerConfig",
    "lr scheduler": "timechat.runners.schedules:LRConfig",
}


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ` (did you mean 'x'?)` for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Registry:
    """One table of names for each kind: model, builder, processor, task, runner, lr scheduler, engine, benchmark.

    Args:
        providers: for each kind the modules that register what this package offers.
        bases: for some kinds the schema, `module:class`, that theirs derive from.
    """

    def __init__(
        self, providers: Mapping[str, tuple[str, ...]] | None = None, bases: Mapping[str, str] | None = None
    ) -> None:
        self._tables: dict[str, dict[str, Any]] = {}
        self._configs: dict[str, dict[str, type[Section]]] = {}
        self._providers = dict(providers or {})
        self._bases = dict(bases or {})

    def _register(self, kind: str, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        def add(cls: T) -> T:
            self._load(kind)  # so that a name which this package has is taken, whoever comes first
            table = self._tables.setdefault(kind, {})
            if name in table and not _same(table[name], cls):
                there = f"{table[name].__module__}.{table[name].__qualname__}"
                raise RegistryError(f"{kind} {name!r} is already registered, for {there}; choose another name")
            schema, base = config or self._inherited(kind, cls), self.base_of(kind)
            if not (isinstance(schema, type) and issubclass(schema, base)):
                raise RegistryError(f"{kind} {name!r}: its config, {schema!r}, must be a subclass of {base.__name__}")
            table[name] = cls
            self._configs.setdefault(kind, {})[name] = schema
            return cls

        return add

    def _inherited(self, kind: str, cls: Any) -> type[Section]:
        """The schema of the nearest class above that is registered, or the base of the kind."""
        for parent in getattr(cls, "__mro__", ())[1:]:
            for name, registered in self._tables.get(kind, {}).items():
                if registered is parent:
                    return self._configs[kind][name]
        return self.base_of(kind)

    def base_of(self, kind: str) -> type[Section]:
        """The schema of the keys that everything of a kind has."""
        module, _, name = self._bases.get(kind, f"{Section.__module__}:{Section.__name__}").partition(":")
        return getattr(importlib.import_module(module), name)

    def _load(self, kind: str) -> None:
        """Import what this package offers of a kind."""
        for module in self._providers.get(kind, ()):
            importlib.import_module(module)

    def _load_all(self, kind: str) -> None:
        """What installed plug-ins offer as well."""
        self._load(kind)
        if kind in self._providers:
            load_installed()

    def _get(self, kind: str, name: str) -> Any:
        self._load_all(kind)
        table = self._tables.get(kind, {})
        if name not in table:
            known = sorted(table)
            raise RegistryError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known) or 'none'}")
        return table[name]

    def names(self, kind: str) -> list[str]:
        """The registered names of one kind, sorted."""
        self._load_all(kind)
        return sorted(self._tables.get(kind, {}))

    def config_of(self, kind: str, name: str) -> type[Section]:
        """The schema of the keys that a registered thing reads. Raises RegistryError."""
        self._get(kind, name)
        return self._configs[kind][name]

    def register_model(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a model, for `model.arch`; its schema is the section `model`."""
        return self._register("model", name, config)

    def register_builder(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a dataset builder, for `datasets.<name>.builder`; its schema is that entry."""
        return self._register("builder", name, config)

    def register_processor(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a processor of frames, for `vis_processor.train.name`; its schema is that section."""
        return self._register("processor", name, config)

    def register_task(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a task, for `run.task`; its schema adds keys to the section `run`."""
        return self._register("task", name, config)

    def register_runner(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a runner, for `run.runner`; its schema adds keys to the section `run`."""
        return self._register("runner", name, config)

    def register_lr_scheduler(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a learning-rate schedule, for `run.lr_sched`; its schema adds keys to the section `run`."""
        return self._register("lr scheduler", name, config)

    def register_engine(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: an engine, for `run.strategy`; its schema adds keys to the section `run`."""
        return self._register("engine", name, config)

    def register_benchmark(self, name: str, config: type[Section] | None = None) -> Callable[[T], T]:
        """Class decorator: a benchmark, for `--benchmark`; its schema is what `--benchmark-options` may set.

        The class gets the name as its attribute `name`.
        """
        register = self._register("benchmark", name, config)

        def add(cls: T) -> T:
            benchmark: Any = cls
            benchmark.name = name
            return register(cls)

        return add

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

    def get_engine_class(self, name: str) -> Any:
        """The engine registered under `name`. Raises RegistryError."""
        return self._get("engine", name)

    def get_benchmark_class(self, name: str) -> Any:
        """The benchmark registered under `name`. Raises RegistryError."""
        return self._get("benchmark", name)


def _same(there: Any, new: Any) -> bool:
    """Whether both are one class: a module that is imported again, or a notebook's cell that is run again."""
    return there is new or (there.__module__, there.__qualname__) == (new.__module__, new.__qualname__)


registry = Registry(_PROVIDERS, _BASES)
