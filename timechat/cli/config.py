"""Print config keys, with defaults and meaning, as YAML that can be copied.

timechat config                             # every key of `model`, of a dataset, and of `run`
timechat config timechat                    # the keys of one model, builder, processor, task, runner, ..., by name
timechat config train_configs/X.yaml        # a file with everything filled in
timechat config my_model --import my_lab    # of what a module from outside registers
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from timechat.cli.common import path, run_main
from timechat.composition import schema_for
from timechat.config import load_config, plain
from timechat.errors import RegistryError
from timechat.plugins import import_modules
from timechat.registry import KINDS, nearest, registry
from timechat.schema import Group, group_of

COMMENT_COLUMN = 40
WIDTH = 120

# Where the keys of a kind stand in a config, and the key that names what has them.
_PLACES = {
    "model": ("model", "arch"),
    "builder": ("datasets.NAME", "builder"),
    "processor": ("datasets.NAME.vis_processor.train", "name"),
    "task": ("run", "task"),
    "runner": ("run", "runner"),
    "lr scheduler": ("run", "lr_sched"),
    "engine": ("run", "strategy"),
    "benchmark": ("run.valid_benchmark", "name"),
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat config", description="Print config keys, with defaults and meaning, as YAML."
    )
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        type=path,
        metavar="NAME|FILE",
        help="registered names, or YAML files to fill in (default: all keys)",
    )
    add("--import", dest="modules", action="append", default=[], metavar="MODULE", help="that registers more names")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        import_modules(args.modules, "--import", [Path()])
        pages = [page for name in args.names for page in _pages(name)] if args.names else [_everything()]
        sys.stdout.write("\n".join(pages))

    return run_main(run)


def _everything() -> str:
    schema = schema_for(OmegaConf.create({"datasets": {"video_instruct": {}}}))
    return to_yaml(schema, schema.defaults())


def _pages(name: str) -> Iterator[str]:
    """The keys of a name or file. Raises RegistryError: an unknown name; ConfigError: a file that is wrong."""
    if name.endswith((".yaml", ".yml")):
        cfg = load_config(name)
        modules = f"import: {_value(list(cfg['import']))}\n" if cfg["import"] else ""
        yield modules + to_yaml(schema_for(cfg), plain(cfg))
        return
    kinds = [kind for kind in KINDS if name in registry.names(kind)]
    if not kinds:
        known = sorted({known for kind in KINDS for known in registry.names(kind)})
        raise RegistryError(f"nothing is registered as {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    for kind in kinds:
        group, (section, named_by) = group_of(registry.config_of(kind, name)), _PLACES[kind]
        values = group.defaults()
        if named_by in values:
            values[named_by] = name
        body = to_yaml(group, values) if group.keys else "# no further keys\n"
        yield f"# {kind} {name}: `{named_by}: {name}` in `{section}`\n{body}"


def to_yaml(schema: Group, values: Mapping[str, Any]) -> str:
    """Values as YAML, each key with its comment.

    Args:
        schema: of these values.
        values: a mapping for each section, plain values otherwise; keys that the schema lacks are left out.
    """
    return "".join(f"{line}\n" for line in _lines(schema, values, ""))


def _lines(schema: Group, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, entry in schema.keys.items():
        if entry.rules.heading:
            yield ""
            yield f"{indent}# {entry.rules.heading}"
        if isinstance(entry, Group):
            yield from _commented(f"{indent}{name}:", entry.rules.comment)
            yield from _lines(entry, values[name], f"{indent}  ")
        else:
            yield from _commented(f"{indent}{name}: {_value(values[name])}", entry.rules.comment)


def _value(value: Any) -> str:
    """A value as YAML, on one line."""
    text = (
        yaml.safe_dump(value, default_flow_style=True, width=1_000_000, allow_unicode=True)
        .removesuffix("...\n")
        .strip()
    )
    return '""' if value == "" else text


def _commented(line: str, comment: str) -> Iterator[str]:
    """The line with its comment after it, or above it if the line would be too long."""
    commented = f"{line:<{COMMENT_COLUMN - 1}} # {comment}"
    if not comment:
        yield line
    elif len(commented) <= WIDTH:
        yield commented
    else:
        yield f"{line[: len(line) - len(line.lstrip())]}# {comment}"
        yield line


if __name__ == "__main__":
    sys.exit(main())
