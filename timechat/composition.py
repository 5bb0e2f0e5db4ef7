"""Which keys a config has: they depend on what it names.

The schema of `model` is that of the class which `model.arch` names, an entry of `datasets` has its builder's, `run`
those of runner, task, learning-rate schedule and engine together. What a config does not name is at the default that
the schema of its model or runner gives.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from timechat.errors import ConfigError, RegistryError
from timechat.registry import nearest, registry
from timechat.schema import Group, Key, group_of, merged

# What decides which keys the section `run` has besides those of the runner: the key, and the kind of the registry.
_BESIDES_RUNNER = {"task": "task", "lr_sched": "lr scheduler", "strategy": "engine"}

# A file or `--options`, and what it says.
Written = Sequence[tuple[str, DictConfig]]


def schema_for(cfg: DictConfig) -> Group:
    """The keys that a config may have. Raises ConfigError: names that nobody registered, all of them."""
    return schema_of([("config", cfg)])


def schema_of(written: Written) -> Group:
    """The keys that a config may have which is written in several places.

    Args:
        written: what was read, each part with the file that says it; later ones win.

    Raises:
        ConfigError: names that nobody registered, all of them, each with its file.
    """
    names = _Names(written)
    model = names.group("model.arch", "model", _default("model", "arch"))
    sections = {name: _dataset(names, name) for name in names.datasets()}
    run = _run(names)
    names.raise_if_unknown()
    parts = {
        "model": model,
        "datasets": Group({name: part for name, part in sections.items() if part}),
        "run": merged("run", run),
    }
    whole = Group({name: names.expand(name, part) for name, part in parts.items()})
    names.raise_if_unknown()
    return whole


def free_keys(cfg: DictConfig) -> set[str]:
    """Dotted names of the keys that a run may change when it goes on: they do not decide what is learned."""
    return set(_free(schema_for(cfg), "", False))


def source_of(problem: str, written: Written) -> str:
    """Who wrote the key that a problem starts with, the last one if several did; the file itself if nobody did."""
    key = re.split(r"[=:\s]", problem, maxsplit=1)[0]
    sources = [source for source, cfg in written if any(f"{leaf}.".startswith(f"{key}.") for leaf in leaves(cfg))]
    return sources[-1] if sources else written[-2 if len(written) > 1 else 0][0]  # not its includes, not the options


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of everything that a section sets."""
    for key in cfg:
        dotted, value = prefix + str(key), node(cfg, key)
        if isinstance(value, DictConfig) and not value._is_interpolation() and not value._is_none():
            yield from leaves(value, f"{dotted}.")
        else:
            yield dotted


def node(cfg: DictConfig, key: Any) -> Node:
    """What stands at a key that is there, as it is written."""
    return cast(Node, cfg._get_node(key))


def _free(schema: Group, prefix: str, inherited: bool) -> Iterator[str]:
    for name, entry in schema.keys.items():
        free = inherited or entry.rules.may_change
        if isinstance(entry, Group):
            yield from _free(entry, f"{prefix}{name}.", free)
        elif free:
            yield f"{prefix}{name}"


def _default(kind: str, key: str) -> str:
    """What a config means that does not name a model or a runner."""
    return str(group_of(registry.base_of(kind)).key(key).default)


def _run(names: _Names) -> list[tuple[str, Group]]:
    """Who brings keys to the section `run`, and which; the runner says what the others are by default."""
    first = _default("runner", "runner")
    runner = names.group("run.runner", "runner", first)
    run = [(f"runner {names.at('run.runner', first)!r}", runner)]
    for key, kind in _BESIDES_RUNNER.items():
        default = str(runner.key(key).default) if runner.keys else _default("runner", key)
        run.append((f"{kind} {names.at(f'run.{key}', default)!r}", names.group(f"run.{key}", kind, default)))
    return run


class _Names:
    """Looks up what the files name, and collects the names that nobody registered."""

    def __init__(self, written: Written):
        self.written = written
        self.raw = cast(DictConfig, OmegaConf.merge(*(cfg for _, cfg in written)))
        self.problems: list[str] = []

    def at(self, key: str, default: str) -> str:
        """The name that stands at a dotted key."""
        try:
            value = OmegaConf.select(self.raw, key)
        except OmegaConfBaseException:  # through something that is no section, for the check of keys to say
            value = None
        return default if value is None or isinstance(value, DictConfig) else str(value)

    def raise_if_unknown(self) -> None:
        """Raise what was collected. Raises ConfigError."""
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    def datasets(self) -> list[str]:
        """The entries of `datasets`."""
        section = self.raw._get_node("datasets")
        return [str(name) for name in section] if isinstance(section, DictConfig) and not section._is_none() else []

    def group(self, key: str, kind: str, default: str) -> Group:
        """The keys of what stands at a dotted key; without keys if that is not registered."""
        name = self.at(key, default)
        try:
            return group_of(registry.config_of(kind, name))
        except RegistryError as error:
            problem = f"{key}={name}: {error}"
            self.problems.append(f"{source_of(problem, self.written)}: {problem}")
            return Group({})

    def expand(self, where: str, group: Group) -> Group:
        """The group with the keys that the names in its sections bring."""
        keys = {
            name: self.expand(f"{where}.{name}", entry) if isinstance(entry, Group) else entry
            for name, entry in group.keys.items()
        }
        expanded = Group(keys, group.schemas, group.rules)
        kind = group.rules.named
        name = self.at(f"{where}.name", group.key("name").default) if kind else ""
        if not name:
            return expanded
        own = self.group(f"{where}.name", kind, name)  # which may repeat what every such section has
        added = {key: entry for key, entry in own.keys.items() if key not in expanded.keys}
        return Group({**expanded.keys, **added}, tuple(dict.fromkeys((*group.schemas, *own.schemas))), group.rules)


def _dataset(names: _Names, name: str) -> Group | None:
    """The keys of an entry of `datasets`: those of the builder that it names, or that has its name."""
    entry, known = f"datasets.{name}", registry.names("builder")
    if not isinstance(names.raw.datasets._get_node(name), DictConfig):
        return Group({})
    if OmegaConf.select(names.raw, f"{entry}.builder") is None and name not in known:
        own = [other for other in names.datasets() if other in known or names.at(f"datasets.{other}.builder", "")]
        theirs = f"; the others here are {', '.join(own)}" if own else ""
        names.problems.append(
            f"{source_of(entry, names.written)}: unknown dataset {entry}{nearest(name, [*own, *known])}{theirs}; "
            f"known: {', '.join(known)}; for one of your own set {entry}.builder"
        )
        return None
    group = names.group(f"{entry}.builder", "builder", name)
    builder = group.keys.get("builder")
    if not isinstance(builder, Key):
        return group
    chosen = names.at(f"{entry}.builder", name)
    # A subclass has its parent's schema, whose default is the parent's name.
    alias = builder.default in known and registry.get_builder_class(builder.default) is registry.get_builder_class(
        chosen
    )
    named = dataclasses.replace(builder, default=builder.default if alias else chosen)
    return Group({**group.keys, "builder": named}, group.schemas, group.rules)
