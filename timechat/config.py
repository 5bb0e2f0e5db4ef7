"""Load a YAML file: fill in defaults, merge `--options`, and refuse what makes no sense, everything at once.

A config has the sections `model`, `datasets`, `run` (and `preprocess`, which published files carry). At its top there
may be

    include: model.yaml             # or a list: other YAML files, found from this file's folder, go underneath
    import: [my_lab.pooling]        # modules that register things, on Python's path, beside this file, or where you are

Which keys a section has depends on what it names: the schema of `model` is that of the class `model.arch` names, an
entry of `datasets` has its builder's, `run` those of runner, task, learning-rate schedule and engine together. What is
written is checked in this order: names, then keys and values, then values that cannot go together; each stage lists
all it finds in one ConfigError.

Relative paths mean what they say: relative to the working directory. In place of a YAML file there may be the folder
of a saved model (`timechat/model_folder.py`).
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from timechat.errors import ConfigError, RegistryError
from timechat.model_folder import CONFIG, ModelFolder, read_model_folder, refuse_code_inside
from timechat.plugins import import_modules
from timechat.registry import nearest, registry
from timechat.schema import Group, Key, group_of, merged

logger = logging.getLogger(__name__)

OPTIONS = "--options"
IMPORT, INCLUDE = "import", "include"
MODEL = "timechat"

# What decides which keys the section `run` has: the key, the kind of the registry, and the default.
_RUN_NAMES = {
    "runner": ("runner", "runner_base"),
    "task": ("task", "video_text_pretrain"),
    "lr_sched": ("lr scheduler", "linear_warmup_cosine_lr"),
    "strategy": ("engine", "ddp"),
}

# Accepted because published files carry them; `*` stands for any one name. Everything else changes something.
NO_OP_KEYS = {
    "preprocess": "processors are set for each dataset",
    "model.fusion_header_type": "the published code builds a sliding video Q-Former whatever it says",
    "model.prompt": "prompts come with the data",
    "model.prompt_template": "the LLaMA-2 template of timechat/text/conversation.py is the only one",
    "model.end_sym": "LLaMA-2 turns always end in </s>",
    "datasets.*.text_processor": "instruction texts are used as they are",
    "datasets.*.vis_processor.eval": "evaluate.py and validation leave frames as they are",
    "datasets.*.vis_processor.val": "evaluate.py and validation leave frames as they are",
    "datasets.*.vis_processor.test": "training uses the split train alone",
    "run.world_size": "torchrun tells how many processes there are",
    "run.dist_url": "torchrun tells where the main process is",
    "run.distributed": "torchrun decides",
    "run.test_splits": "evaluate.py runs the benchmarks",
}

# A file or `--options`, and what it says.
Written = Sequence[tuple[str, DictConfig]]


def load_config(path: str | Path, options: Sequence[str] = ()) -> DictConfig:
    """Load, complete and check a config; what it imports is registered afterwards.

    Args:
        path: a YAML file, or the folder of a saved model.
        options: overrides such as `run.max_epoch=1`.

    Returns:
        The whole config, defaults filled in and interpolations resolved.

    Raises:
        ConfigError: lists everything that is wrong, with file, key and the nearest known key.
    """
    path = Path(path)
    saved = read_model_folder(path) if path.is_dir() else None
    files = [(path / CONFIG, _as_config(saved))] if saved else _read_with_includes(path)
    modules = [name for file in files for name in _imports(*file, saved=bool(saved))]
    written = [*((str(file), without(cfg, IMPORT)) for file, cfg in files), (OPTIONS, _read_options(options))]
    schema = schema_of(written)
    defaults = OmegaConf.create({IMPORT: list(dict.fromkeys(modules)), **schema.defaults()})
    problems = [problem for source, cfg in written for problem in _unknown_keys(cfg, schema, "", source)]
    if saved:
        own = file_keys(schema.section("model"))
        problems += _misplaced_files(saved, own, path / CONFIG)
        defaults.model.update(dict.fromkeys(own, ""))
    _raise_if(problem for problem in problems if _NO_SECTION in problem)
    try:
        cfg = merged_configs(defaults, *(cfg for _, cfg in written))
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError("\n".join([*problems, f"{path}: {_first_line(error)}"])) from error
    _empty_texts(cfg, schema)
    wrong = _wrong_values(plain(cfg), schema, "")
    _raise_if([*problems, *(f"{_source_of(problem, written)}: {problem}" for problem in wrong)])
    _raise_if(f"{_source_of(problem, written)}: {problem}" for problem in _conflicts(cfg, cfg, schema, ""))
    _mention_no_ops([cfg for _, cfg in written])
    return cfg


def plain(cfg: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """A section as dicts and lists; interpolations stay as they are written unless `resolve`."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=resolve))


def merged_configs(*configs: DictConfig | dict[str, Any]) -> DictConfig:
    """A new section with the keys of all; later ones win."""
    return cast(DictConfig, OmegaConf.merge(*configs))


def without(cfg: DictConfig, key: str) -> DictConfig:
    """The same section without one of its keys."""
    kept: list[Any] = [name for name in cfg if name != key]
    return OmegaConf.masked_copy(cfg, kept)


def file_keys(section: Group) -> list[str]:
    """The keys of a section that name files or folders."""
    return [name for name, entry in section.keys.items() if isinstance(entry, Key) and entry.rules.file]


def frames_per_video(model: DictConfig) -> int:
    """How many frames are sampled from a video: `model.num_frm`, by default as many as there are positions."""
    return model.num_frm or model.max_frame_pos


def free_keys(cfg: DictConfig) -> set[str]:
    """Dotted names of the keys that a run may change when it goes on: they do not decide what is learned."""
    return set(_free(schema_of([("", cfg), (OPTIONS, OmegaConf.create())]), "", False))


def _free(schema: Group, prefix: str, inherited: bool) -> Iterator[str]:
    for name, entry in schema.keys.items():
        free = inherited or entry.rules.may_change
        if isinstance(entry, Group):
            yield from _free(entry, f"{prefix}{name}.", free)
        elif free:
            yield f"{prefix}{name}"


def is_no_op(key: str) -> bool:
    """Whether a dotted key, or a section that it is in, is accepted without effect."""
    parts = key.split(".")
    for pattern in NO_OP_KEYS:
        wanted = pattern.split(".")
        head = parts[: len(wanted)]
        if len(head) == len(wanted) and all(w in ("*", p) for w, p in zip(wanted, head, strict=True)):
            return True
    return False


# Reading --------------------------------------------------------------------------------------------------------------


def _read_with_includes(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[Path, DictConfig]]:
    """A file and what it includes, each with its name; later ones win. Raises ConfigError."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: includes itself, through {' and '.join(map(str, above))}; remove one include")
    cfg = _read_yaml(path)
    chain = (*above, path.resolve())
    names = _names(path, cfg, INCLUDE, "a YAML file")
    below = [entry for name in names for entry in _read_with_includes(path.parent / name, chain)]
    return [*below, (path, without(cfg, INCLUDE))]


def _imports(path: Path, cfg: DictConfig, saved: bool) -> list[str]:
    """Import the modules that a file names, for a saved model none from its folder; their names. Raises ConfigError."""
    names = _names(path, cfg, IMPORT, "a module")
    if saved:
        refuse_code_inside(path.parent, names)
    import_modules(names, f"{path}: {IMPORT}", [Path()] if saved else [path.parent, Path()])
    return names


def _as_config(saved: ModelFolder) -> DictConfig:
    """What the folder of a saved model says, as if a YAML file had said it."""
    return OmegaConf.create({IMPORT: saved.imports, "model": saved.model | saved.files})


def _misplaced_files(saved: ModelFolder, own: Sequence[str], file: Path) -> Iterator[str]:
    """Files that a saved model names where it may not; `own` are the keys that name files."""
    yield from (f"{file}: model.{key}: names a file, which only `files` may" for key in own if key in saved.model)
    yield from (f"{file}: files.{key}: is not a key that names a file" for key in saved.files if key not in own)


def _names(path: Path, cfg: DictConfig, key: str, what: str) -> list[str]:
    """A line at the top of a file that holds a name or a list of names."""
    value = plain(cfg).get(key, [])
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{path}: {key}={value!r} must be the name of {what}, or a list of names")
    return names


def _read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        cfg = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"{path}: expected the sections model, datasets and run, found a {type(cfg).__name__}")
    # A section whose keys are all commented out reads as null: it says nothing.
    said: list[Any] = [key for key in cfg if not _node(cfg, key)._is_none()]
    return OmegaConf.masked_copy(cfg, said)


def _node(cfg: DictConfig, key: Any) -> Node:
    """What stands at a key that is there, as it is written."""
    return cast(Node, cfg._get_node(key))


def _read_options(options: Sequence[str]) -> DictConfig:
    wrong = [option for option in options if "=" not in option or option.startswith("=")]
    if wrong:
        raise ConfigError(f"{OPTIONS}: expected section.key=value, got {', '.join(map(repr, wrong))}")
    try:
        return OmegaConf.from_dotlist(list(options))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{OPTIONS}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _empty_texts(cfg: DictConfig, schema: Group) -> None:
    """`key:` and `key=` without a value read as null; where a text is wanted they mean the empty one."""
    for name, entry in schema.keys.items():
        if isinstance(entry, Group):
            if isinstance(cfg.get(name), DictConfig):
                _empty_texts(cfg[name], entry)
        elif entry.kind is str and not entry.nullable and cfg.get(name) is None:
            cfg[name] = ""


# Composing the schema -------------------------------------------------------------------------------------------------


def schema_of(written: Written) -> Group:
    """The keys that a config may have, which depend on what it names.

    Args:
        written: what was read, each part with the file that says it; later ones win.

    Raises:
        ConfigError: names that nobody registered, all of them.
    """
    names = _Names(written)
    model = names.group("model.arch", "model", MODEL)
    sections = {name: _dataset(names, name) for name in names.datasets()}
    brought = [
        (f"{kind} {names.at(f'run.{key}', default)!r}", names.group(f"run.{key}", kind, default))
        for key, (kind, default) in _RUN_NAMES.items()
    ]
    _raise_if(names.problems)
    run = merged("run", brought)
    parts = {"model": model, "datasets": Group({name: part for name, part in sections.items() if part}), "run": run}
    whole = Group({name: names.expand(name, part) for name, part in parts.items() if part})
    _raise_if(names.problems)
    return whole


class _Names:
    """Looks up what the files name, and collects the names that nobody registered."""

    def __init__(self, written: Written):
        self.written = written
        self.raw = merged_configs(*(cfg for _, cfg in written))
        self.problems: list[str] = []

    def at(self, key: str, default: str) -> str:
        """The name that stands at a dotted key."""
        try:
            value = OmegaConf.select(self.raw, key)
        except OmegaConfBaseException:  # through something that is no section, for the check of keys to say
            value = None
        return default if value is None or isinstance(value, DictConfig) else str(value)

    def datasets(self) -> list[str]:
        section = self.raw._get_node("datasets")
        return [str(name) for name in section] if isinstance(section, DictConfig) and not section._is_none() else []

    def group(self, key: str, kind: str, default: str) -> Group:
        """The keys of what stands at a dotted key; without keys if that is not registered."""
        name = self.at(key, default)
        try:
            return group_of(registry.config_of(kind, name))
        except RegistryError as error:
            problem = f"{key}={name}: {error}"
            self.problems.append(f"{_source_of(problem, self.written)}: {problem}")
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
        names.problems.append(
            f"{_source_of(entry, names.written)}: unknown dataset {entry}{nearest(name, known)}; known: "
            f"{', '.join(known)}; for one of your own set {entry}.builder"
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


# Checking -------------------------------------------------------------------------------------------------------------

_NO_SECTION = "must be a section with keys"


def _raise_if(problems: Iterable[str]) -> None:
    problems = list(problems)
    if problems:
        raise ConfigError("\n".join(problems))


def _source_of(problem: str, written: Written) -> str:
    """Who wrote the key that a problem starts with, the last one if several did; the file itself if nobody did."""
    key = re.split(r"[=:\s]", problem, maxsplit=1)[0]
    sources = [source for source, cfg in written if any(f"{leaf}.".startswith(f"{key}.") for leaf in _leaves(cfg))]
    return sources[-1] if sources else written[-2][0]  # behind what it includes, before the options


def _unknown_keys(cfg: DictConfig, schema: Group, prefix: str, source: str) -> Iterator[str]:
    for key in cfg:
        name = str(key)
        dotted, entry = f"{prefix}{name}", schema.keys.get(name)
        if entry is None:
            if not is_no_op(dotted):
                yield f"{source}: unknown key {dotted}{nearest(name, list(schema.keys))}"
            continue
        value = _node(cfg, key)
        if isinstance(entry, Group) and not value._is_interpolation():
            if isinstance(value, DictConfig) and not value._is_none():
                yield from _unknown_keys(value, entry, f"{dotted}.", source)
            else:
                yield f"{source}: {dotted} {_NO_SECTION}, not {value._value()!r}"


def _wrong_values(values: Mapping[str, Any], schema: Group, prefix: str) -> Iterator[str]:
    for name, entry in schema.keys.items():
        dotted, value = f"{prefix}{name}", values.get(name)
        if isinstance(entry, Key):
            problem = entry.problem(value)
            if problem:
                yield f"{dotted}{problem}"
        elif isinstance(value, Mapping):
            yield from _wrong_values(value, entry, f"{dotted}.")
        else:
            yield f"{dotted}={value!r} {_NO_SECTION}"


def _conflicts(cfg: DictConfig, section: DictConfig, schema: Group, where: str) -> Iterator[str]:
    for part in schema.schemas:
        yield from part.conflicts(where, section, cfg)
    for name, entry in schema.keys.items():
        if isinstance(entry, Group):
            yield from _conflicts(cfg, section[name], entry, f"{where}.{name}" if where else name)


def _mention_no_ops(written: Sequence[DictConfig]) -> None:
    keys = sorted({key for cfg in written for key in _leaves(cfg) if is_no_op(key)})
    if keys:
        logger.info("without effect, accepted from published configs: %s", ", ".join(keys))


def _leaves(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in cfg:
        dotted, value = prefix + str(key), _node(cfg, key)
        if isinstance(value, DictConfig) and not value._is_interpolation() and not value._is_none():
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted
