"""Options that a benchmark has of its own: read from the command line, and checked against its schema.

    @registry.register_benchmark("qvhighlights", config=QVHighlightsConfig)
    class QVHighlights(Benchmark):
        def __init__(self, clip_of_time: str = "published"): ...

`--benchmark-options clip_of_time=start` sets one; in YAML it is a key of `run.valid_benchmark`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timechat.config import plain
from timechat.errors import ConfigError
from timechat.options import options_section, split_options
from timechat.registry import nearest, registry
from timechat.schema import Group, group_of

FLAG = "--benchmark-options"


def parse_options(texts: Sequence[str], benchmark: str) -> dict[str, Any]:
    """`["clip_of_time=start"]` -> `{"clip_of_time": "start"}`; values as the benchmark's schema wants them.

    Raises:
        RegistryError: no such benchmark.
        ConfigError: something else than KEY=VALUE.
    """
    group = group_of(registry.config_of("benchmark", benchmark))
    return plain(options_section(split_options(texts, FLAG, "KEY=VALUE"), FLAG, group), resolve=True)


def complete_options(benchmark: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a benchmark, those that are not given at their defaults.

    Raises:
        RegistryError: no such benchmark.
        ConfigError: listing options that the benchmark does not have, and values that it does not take.
    """
    group = group_of(registry.config_of("benchmark", benchmark))
    if options and not group.keys:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ConfigError(f"{FLAG} {given}: {benchmark} has no options; leave it out")
    problems = list(_problems(options, group, ""))
    if problems:
        raise ConfigError("\n".join(f"{FLAG} {problem} (benchmark {benchmark})" for problem in problems))
    return _over(group.defaults(), options)


def options_help() -> str:
    """Which benchmark has which options, for a command line: `qvhighlights: clip_of_time=published`."""
    groups = {name: group_of(registry.config_of("benchmark", name)) for name in registry.names("benchmark")}
    return "; ".join(
        f"{name}: {', '.join(f'{option}={value}' for option, value in group.defaults().items())}"
        for name, group in groups.items()
        if group.keys
    )


def own_options(benchmark: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Those keys of a config section that are options of the benchmark. Raises RegistryError."""
    keys = group_of(registry.config_of("benchmark", benchmark)).keys
    return {name: value for name, value in section.items() if name in keys}


def _problems(options: Mapping[str, Any], group: Group, prefix: str) -> Iterator[str]:
    for name, value in options.items():
        entry, dotted = group.keys.get(name), f"{prefix}{name}"
        if entry is None:
            known = ", ".join(group.keys)
            yield f"{dotted}={value}: unknown option{nearest(name, list(group.keys))}; known: {known}"
        elif not isinstance(entry, Group):
            problem = entry.problem(value)
            if problem:
                yield f"{dotted}{problem}"
        elif isinstance(value, Mapping):
            yield from _problems(value, entry, f"{dotted}.")
        else:
            yield f"{dotted}={value}: is a section; give {dotted}.KEY=VALUE"


def _over(defaults: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options over the defaults, sections key by key."""
    merged = {
        name: _over(defaults[name], value) if isinstance(value, Mapping) else value for name, value in options.items()
    }
    return {**defaults, **merged}
