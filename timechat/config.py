"""Load a YAML file: fill in defaults, merge `--options`, and refuse what makes no sense, everything at once.

A config has the sections `model`, `datasets`, `run` (and `preprocess`, which published files carry). At its top there
may be

    include: model.yaml             # or a list: other YAML files, found from this file's folder, go underneath
    import: [my_lab.pooling]        # modules that register things, on Python's path, beside this file, or where you are

Which keys a section has depends on what it names: the schema of `model` is that of the class `model.arch` names, an
entry of `datasets` has its builder's, `run` those of runner, task, learning-rate schedule and engine together. What is
written is checked in this order: names, then keys and values, then values that cannot go together; each stage lists
all it finds in one ConfigError.

Relative paths mean what they say: relative to the working directory; `~` is the home directory. In place of a YAML
file there may be the folder of a saved model (`timechat/model_folder.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from timechat.composition import leaves, node, schema_of, source_of
from timechat.errors import ConfigError
from timechat.model_folder import CONFIG, ModelFolder, read_model_folder, refuse_code_inside
from timechat.options import first_line, odd_names, options_section, split_options
from timechat.plugins import import_modules
from timechat.registry import nearest
from timechat.schema import Group, Key

logger = logging.getLogger(__name__)

OPTIONS = "--options"
IMPORT, INCLUDE = "import", "include"
_NULL = "tag:yaml.org,2002:null"

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
    path, given = Path(path).expanduser(), split_options(options, OPTIONS)
    saved = read_model_folder(path) if path.is_dir() else None
    files = [(path / CONFIG, _as_config(saved))] if saved else _read_with_includes(path)
    modules = [name for file in files for name in _imports(*file, saved=bool(saved))]
    texts = [(str(file), without(cfg, IMPORT)) for file, cfg in files]
    schema = schema_of([*texts, (OPTIONS, options_section(given, OPTIONS))])
    written = [*texts, (OPTIONS, options_section(given, OPTIONS, schema))]
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
        raise ConfigError("\n".join([*problems, f"{path}: {first_line(error)}"])) from error
    _adapt(cfg, schema)
    wrong = _wrong_values(plain(cfg), schema, "")
    _raise_if([*problems, *(f"{source_of(problem, written)}: {problem}" for problem in wrong)])
    _raise_if(f"{source_of(problem, written)}: {problem}" for problem in _conflicts(cfg, cfg, schema, ""))
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
    """How many frames are sampled from a video, at most: `model.num_frm`, by default as many as there are positions."""
    return model.num_frm or model.max_frame_pos


def frame_sampling(model: DictConfig) -> dict[str, Any]:
    """Which frames of a video a model takes, as arguments of `load_video`: their number, or their rate, and size."""
    return {"n_frms": frames_per_video(model), "fps": model.fps, "image_size": model.image_size}


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
    below = [entry for name in names for entry in _read_with_includes(path.parent / Path(name).expanduser(), chain)]
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
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        if root is None or root.tag == _NULL:
            return OmegaConf.create()
        if not isinstance(root, yaml.MappingNode):
            found = "a list" if isinstance(root, yaml.SequenceNode) else f"only the text {root.value[:80]!r}"
            raise ConfigError(f"{path}: expected the sections model, datasets and run, found {found}")
        cfg = cast(DictConfig, OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    _raise_if(f"{path}: {problem}" for problem in odd_names(plain(cfg)))
    # A section whose keys are all commented out reads as null: it says nothing.
    said: list[Any] = [key for key in cfg if not node(cfg, key)._is_none()]
    return OmegaConf.masked_copy(cfg, said)


def _adapt(cfg: DictConfig, schema: Group) -> None:
    """Give every value the form in which it is used, in place."""
    values = plain(cfg)
    for name, entry in schema.keys.items():
        if isinstance(entry, Group):
            if isinstance(values.get(name), dict):
                _adapt(cfg[name], entry)
        elif (value := entry.adapted(values.get(name))) != values.get(name):
            cfg[name] = value


# Checking -------------------------------------------------------------------------------------------------------------

_NO_SECTION = "must be a section with keys"


def _raise_if(problems: Iterable[str]) -> None:
    problems = list(problems)
    if problems:
        raise ConfigError("\n".join(problems))


def _unknown_keys(cfg: DictConfig, schema: Group, prefix: str, source: str) -> Iterator[str]:
    for key in cfg:
        name = str(key)
        dotted, entry = f"{prefix}{name}", schema.keys.get(name)
        if entry is None:
            if not is_no_op(dotted):
                yield f"{source}: unknown key {dotted}{nearest(name, list(schema.keys))}"
            continue
        value = node(cfg, key)
        if value._is_missing():
            yield f"{source}: {dotted}=??? means a missing value to OmegaConf; write another one, or leave the key out"
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
    keys = sorted({key for cfg in written for key in leaves(cfg) if is_no_op(key)})
    if keys:
        logger.info("without effect, accepted from published configs: %s", ", ".join(keys))
