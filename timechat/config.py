"""Load a YAML file: fill in defaults, merge `--options`, and refuse what makes no sense, everything at once.

A config has the sections `model`, `datasets`, `run` (and `preprocess`, which published files carry). A line
`include: model.yaml` (or a list of files) at its top puts other files, found from the file's own folder, underneath.
Every accepted key stands in a file under `timechat/configs/` with its default and a comment. What is written is checked
in this order: unknown keys, wrong types, values that cannot go together; each stage lists all it finds in one
ConfigError.

Relative paths mean what they say: relative to the working directory.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from timechat.errors import ConfigError
from timechat.registry import nearest

logger = logging.getLogger(__name__)

CONFIGS = Path(__file__).parent / "configs"
OPTIONS = "--options"

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

# Keys that may be null: what they may be besides.
_NULLABLE: dict[str, tuple[type, ...]] = {
    "model.num_frm": (int,),
    "run.lr_decay_rate": (float, int),
    "run.iters_per_epoch": (int,),
    "run.reference_world_size": (int,),
    "run.clip_grad_norm": (float, int),
    "run.precision": (str,),
    "run.save_every_steps": (int,),
    "run.best_score": (str,),
    "run.valid_benchmark.limit": (int,),
    "run.valid_benchmark.max_new_tokens": (int,),
    "run.resume_ckpt_path": (str,),
    "run.data_timeout_s": (float, int),
    "run.max_nonfinite": (int,),
    "datasets.*.vis_processor.*.n_frms": (int,),
    "datasets.*.vis_processor.*.image_size": (int,),
    "datasets.*.num_frm": (int,),
    "datasets.*.num_video_query_token": (int,),
    "datasets.*.stride": (int,),
    "datasets.*.max_txt_len": (int,),
    "datasets.*.tokenizer_name": (str,),
    "datasets.*.model_type": (str,),
}


def load_config(path: str | Path, options: Sequence[str] = ()) -> DictConfig:
    """Load, complete and check a config.

    Args:
        path: a YAML file.
        options: overrides such as `run.max_epoch=1`.

    Returns:
        The whole config, defaults filled in and interpolations resolved.

    Raises:
        ConfigError: listing everything that is wrong, with file, key and the nearest known key.
    """
    written = [*_read_with_includes(Path(path)), (OPTIONS, _read_options(options))]
    names = list(dict.fromkeys(name for _, cfg in written for name in _dataset_names(cfg)))
    _raise_if(problem for name in names for problem in _unknown_dataset(name, written))
    defaults = _defaults(names)
    _raise_if(problem for source, cfg in written for problem in _unknown_keys(cfg, defaults, "", source))
    try:
        cfg = OmegaConf.merge(defaults, *(cfg for _, cfg in written))
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error
    _empty_texts(cfg, defaults)
    _raise_if(f"{_source_of(problem, written)}: {problem}" for problem in _wrong_types(cfg, defaults, ""))
    _raise_if(f"{_source_of(problem, written)}: {problem}" for problem in _conflicts(cfg))
    _mention_no_ops([cfg for _, cfg in written])
    if 0 < cfg.model.window_size < cfg.model.stride:
        logger.warning(
            "model.stride=%d is more than model.window_size=%d: the frames between two windows are never seen",
            cfg.model.stride, cfg.model.window_size,
        )  # fmt: skip
    return cfg


def frames_per_video(model: DictConfig) -> int:
    """How many frames are sampled from a video: `model.num_frm`, by default as many as there are positions."""
    return model.num_frm or model.max_frame_pos


def is_no_op(key: str) -> bool:
    """Whether a dotted key, or the section it stands in, is accepted without effect."""
    return _lookup(NO_OP_KEYS, key, prefixes=True) is not None


# Reading --------------------------------------------------------------------------------------------------------------


def _read_with_includes(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[str, DictConfig]]:
    """A file and what it includes, each with its name; later ones win. Raises ConfigError."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: includes itself, through {' and '.join(map(str, above))}; remove one include")
    cfg = _read_yaml(path)
    includes = OmegaConf.to_container(cfg).get("include", [])
    cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "include"])
    includes = [includes] if isinstance(includes, str) else includes
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise ConfigError(f"{path}: include={includes!r} must be the name of a YAML file, or a list of names")
    chain = (*above, path.resolve())
    below = [entry for name in includes for entry in _read_with_includes(path.parent / name, chain)]
    return [*below, (str(path), cfg)]


def _read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        cfg = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"{path}: expected the sections model, datasets and run, found a {type(cfg).__name__}")
    return OmegaConf.masked_copy(cfg, [key for key in cfg if not _is_null(cfg, key)])


def _is_null(cfg: DictConfig, key: str) -> bool:
    """A section whose keys are all commented out reads as null: it says nothing."""
    return cfg._get_node(key)._is_none()


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


@functools.cache
def _default_file(name: str) -> DictConfig:
    return OmegaConf.load(CONFIGS / f"{name}.yaml")


def _defaults(dataset_names: Sequence[str]) -> DictConfig:
    return OmegaConf.create(
        {
            "model": _default_file("models/timechat"),
            "datasets": {name: _dataset_defaults(name) for name in dataset_names},
            "run": _default_file("run"),
            "preprocess": {"vis_processor": {}, "text_processor": {}},
        }
    )


def named_datasets() -> list[str]:
    """The dataset names that have defaults of their own."""
    return sorted(path.stem for path in (CONFIGS / "datasets").glob("*.yaml"))


def _dataset_defaults(name: str) -> DictConfig:
    base = _default_file("dataset")
    return OmegaConf.merge(base, _default_file(f"datasets/{name}")) if name in named_datasets() else base


def _dataset_names(cfg: DictConfig) -> list[str]:
    section = cfg.get("datasets")
    return [str(name) for name in section] if isinstance(section, DictConfig) else []


def _empty_texts(cfg: DictConfig, known: DictConfig) -> None:
    """`key:` and `key=` without a value read as null; where a text stands by default they mean the empty one."""
    for key, default in known.items():
        if isinstance(default, DictConfig):
            if isinstance(cfg.get(key), DictConfig):
                _empty_texts(cfg[key], default)
        elif isinstance(default, str) and cfg.get(key) is None:
            cfg[key] = ""


# Checking -------------------------------------------------------------------------------------------------------------


def _raise_if(problems: Iterable[str]) -> None:
    problems = list(problems)
    if problems:
        raise ConfigError("\n".join(problems))


def _source_of(problem: str, written: Sequence[tuple[str, DictConfig]]) -> str:
    """Who wrote the key that a problem starts with, the last one if several did; the file itself if nobody did."""
    key = re.split(r"[=\s]", problem, maxsplit=1)[0]
    sources = [source for source, cfg in written if any(f"{leaf}.".startswith(f"{key}.") for leaf in _leaves(cfg))]
    return sources[-1] if sources else written[-2][0]  # behind what it includes, before the options


def _unknown_dataset(name: str, written: Sequence[tuple[str, DictConfig]]) -> Iterator[str]:
    """A dataset needs defaults of its own or names its builder."""
    entries = [(source, cfg.datasets[name]) for source, cfg in written if name in _dataset_names(cfg)]
    has_builder = any(isinstance(entry, DictConfig) and "builder" in entry for _, entry in entries)
    if name not in named_datasets() and not has_builder:
        known = named_datasets()
        yield (
            f"{entries[0][0]}: unknown dataset datasets.{name}{nearest(name, known)}; "
            f"known: {', '.join(known)}; for one of your own set datasets.{name}.builder"
        )


def _unknown_keys(cfg: DictConfig, known: DictConfig, prefix: str, source: str) -> Iterator[str]:
    for key in cfg:
        dotted = f"{prefix}{key}"
        if key not in known:
            if not is_no_op(dotted):
                yield f"{source}: unknown key {dotted}{nearest(str(key), [str(k) for k in known])}"
            continue
        value, default = cfg._get_node(key), known._get_node(key)
        if isinstance(default, DictConfig) and not value._is_interpolation():
            if isinstance(value, DictConfig):
                yield from _unknown_keys(value, default, f"{dotted}.", source)
            else:
                yield f"{source}: {dotted} must be a section with keys, not {value._value()!r}"


def _wrong_types(cfg: DictConfig, known: DictConfig, prefix: str) -> Iterator[str]:
    for key, default in known.items():
        dotted, value = f"{prefix}{key}", cfg.get(key)
        if isinstance(default, DictConfig):
            if isinstance(value, DictConfig):
                yield from _wrong_types(value, default, f"{dotted}.")
            else:
                yield f"{dotted}={value!r} must be a section with keys"
            continue
        allowed = _allowed_types(dotted, default)
        if value is None:
            if _lookup(_NULLABLE, dotted) is None:
                yield f"{dotted} must be {_type_names(allowed)}, not null"
        elif not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            yield f"{dotted}={value!r} must be {_type_names(allowed)}"


def _allowed_types(dotted: str, default: Any) -> tuple[type, ...]:
    if nullable := _lookup(_NULLABLE, dotted):
        return nullable
    if isinstance(default, bool):
        return (bool,)
    if isinstance(default, float):
        return (float, int)
    return (ListConfig,) if isinstance(default, ListConfig) else (type(default),)


def _type_names(types: Sequence[type]) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", ListConfig: "a list"}
    return names[types[0]]


def _lookup(table: dict[str, Any], dotted: str, prefixes: bool = False) -> Any:
    """The entry for a dotted key, `*` matching any one name; with `prefixes` also the entry of a section above it."""
    parts = dotted.split(".")
    for pattern, value in table.items():
        wanted = pattern.split(".")
        head = parts[: len(wanted)] if prefixes else parts
        if len(head) == len(wanted) and all(w in ("*", p) for w, p in zip(wanted, head, strict=True)):
            return value
    return None


def _conflicts(cfg: DictConfig) -> Iterator[str]:
    yield from _model_conflicts(cfg.model)
    for name, entry in cfg.datasets.items():
        yield from _dataset_conflicts(f"datasets.{name}", entry, cfg.model)
    yield from _run_conflicts(cfg.run)
    yield from _validation_conflicts(cfg)


def _model_conflicts(model: DictConfig) -> Iterator[str]:
    if model.model_type != "pretrain_llama_v2":
        yield (
            f"model.model_type={model.model_type}: only pretrain_llama_v2 works; the published code cannot put "
            "timestamps into Vicuna's template either"
        )
    if model.prompt_path:
        yield (
            f"model.prompt_path={model.prompt_path}: must be empty; the published code cannot combine random prompts "
            "with timestamps either"
        )
    if model.num_frm and model.num_frm > model.max_frame_pos:
        yield f"model.num_frm={model.num_frm} is more than model.max_frame_pos={model.max_frame_pos}; raise the latter"
    for key in ("vit_precision", "llama_precision"):
        if model[key] not in ("auto", "fp32", "fp16", "bf16"):
            yield f"model.{key}={model[key]}: choose auto, fp32, fp16 or bf16"
    if model.initialization not in ("published", "fan_in"):
        yield f"model.initialization={model.initialization}: choose published or fan_in"
    yield from _out_of_range("model", model, _MODEL_LIMITS)
    if model.low_resource and not model.freeze_llama:
        yield "model.low_resource=true holds LLaMA in 8 bits, which cannot be trained: set model.freeze_llama=true"


_Limits = dict[str, tuple[tuple[str, ...], Callable[[float], bool]]]

_MODEL_LIMITS: _Limits = {
    "must be 1 or more": (
        (
            *(f"vit.{key}" for key in ("embed_dim", "depth", "num_heads")),
            *(f"qformer.{key}" for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")),
            "qformer.intermediate_size",
            *("image_size", "num_query_token", "num_video_query_token", "fusion_head_layers", "max_frame_pos"),
            *("num_frm", "stride", "lora_r", "max_txt_len"),
        ),
        lambda value: value >= 1,
    ),
    "must be 0 or more": (("window_size", "device_8bit"), lambda value: value >= 0),
    "must be at least 0 and below 1": (
        (
            *("drop_path_rate", "lora_dropout"),
            *("qformer.hidden_dropout_prob", "qformer.attention_probs_dropout_prob"),
        ),
        lambda value: 0 <= value < 1,
    ),
}

_RUN_LIMITS: _Limits = {
    "must be 1 or more": (
        (
            *("max_epoch", "iters_per_epoch", "batch_size_train", "batch_size_eval", "accum_grad_iters", "log_freq"),
            *("reference_world_size", "save_every_steps", "keep_checkpoints", "max_nonfinite", "data_timeout_s"),
            *("valid_benchmark.limit", "valid_benchmark.max_new_tokens"),
        ),
        lambda value: value >= 1,
    ),
    "must be 0 or more": (
        (
            *("num_workers", "seed", "warmup_steps", "init_lr", "min_lr", "lr_decay_rate", "weight_decay"),
            "clip_grad_norm",
        ),
        lambda value: value >= 0,
    ),
    "must be at least 0 and below 1": (("beta2",), lambda value: 0 <= value < 1),
    "must be from 0 to 1": (("max_skip_ratio",), lambda value: 0 <= value <= 1),
}


def _out_of_range(section: str, cfg: DictConfig, limits: _Limits) -> Iterator[str]:
    for limit, (keys, holds) in limits.items():
        for key in keys:
            value = OmegaConf.select(cfg, key)
            if value is not None and not holds(value):
                yield f"{section}.{key}={value}: {limit}"


def _dataset_conflicts(where: str, entry: DictConfig, model: DictConfig) -> Iterator[str]:
    """One setting, one place: the copies of model settings that published files keep must agree with `model`."""
    if entry.model_type not in (None, "llama_v2"):
        yield f"{where}.model_type={entry.model_type}: only llama_v2 works"
    if not entry.build_info.anno_dir:
        return  # nothing is built from it, as in published evaluation files
    frames, train = frames_per_video(model), entry.vis_processor.train
    copies = {
        "num_video_query_token": ("model.num_video_query_token", model.num_video_query_token),
        "stride": ("model.stride", model.stride),
        "max_txt_len": ("model.max_txt_len", model.max_txt_len),
        "num_frm": ("model.num_frm", frames),
    }
    for key, (name, value) in copies.items():
        if entry[key] not in (None, value):
            yield f"{where}.{key}={entry[key]} differs from {name}={value}; set it in model alone"
    if train.n_frms not in (None, frames):
        yield f"{where}.vis_processor.train.n_frms={train.n_frms} differs from model.num_frm={frames}"
    if train.image_size not in (None, model.image_size):
        size = model.image_size
        yield f"{where}.vis_processor.train.image_size={train.image_size} differs from model.image_size={size}"
    if entry.tokenizer_name and os.path.normpath(entry.tokenizer_name) != os.path.normpath(model.llama_model):
        yield f"{where}.tokenizer_name={entry.tokenizer_name} differs from model.llama_model={model.llama_model}"
    if entry.sample_type not in ("uniform", "rand"):
        yield f"{where}.sample_type={entry.sample_type}: choose uniform or rand"
    if entry.sample_ratio < 0:
        yield f"{where}.sample_ratio={entry.sample_ratio}: must not be negative"


def _run_conflicts(run: DictConfig) -> Iterator[str]:
    yield from _out_of_range("run", run, _RUN_LIMITS)
    if not run.output_dir:
        yield "run.output_dir is empty: name the folder that gets checkpoints and logs"
    if run.precision not in (None, "fp32", "fp16", "bf16"):
        yield f"run.precision={run.precision}: choose fp32, fp16 or bf16"
    if not run.resume:
        yield "run.resume is empty: choose auto, never, or the path of a checkpoint"
    if run.resume != "auto" and run.resume_ckpt_path:
        yield f"run.resume={run.resume}: goes with run.resume_ckpt_path=null, they mean the same; remove one of them"
    strategies = ("ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3")
    if run.strategy not in strategies:
        yield f"run.strategy={run.strategy}: choose one of {', '.join(strategies)}"
    if list(run.train_splits) != ["train"]:
        yield f"run.train_splits={list(run.train_splits)}: the instruction datasets have the split train alone"


def _validation_conflicts(cfg: DictConfig) -> Iterator[str]:
    run, benchmark = cfg.run, cfg.run.valid_benchmark
    if list(run.valid_splits) not in ([], ["val"], ["valid"]):
        yield f"run.valid_splits={list(run.valid_splits)}: choose [val] or []"
    elif run.valid_splits and not any(entry.build_info.valid_anno_dir for entry in cfg.datasets.values()):
        yield (
            f"run.valid_splits={list(run.valid_splits)}: no dataset has validation data; name some in "
            "datasets.NAME.build_info.valid_anno_dir"
        )
    if benchmark.name and run.strategy in ("fsdp", "deepspeed_zero3"):
        yield (
            f"run.valid_benchmark.name={benchmark.name}: processes answer questions of their own, and no one has the "
            f"whole model with run.strategy={run.strategy}; use run.valid_splits, and evaluate.py afterwards"
        )
    for key in ("anno_path", "videos_dir"):
        if benchmark.name and not benchmark[key]:
            yield f"run.valid_benchmark.{key} is empty: run.valid_benchmark.name={benchmark.name} needs it"


def _mention_no_ops(written: Sequence[DictConfig]) -> None:
    keys = sorted({key for cfg in written for key in _leaves(cfg) if is_no_op(key)})
    if keys:
        logger.info("without effect, accepted from published configs: %s", ", ".join(keys))


def _leaves(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in cfg:
        value = cfg._get_node(key)
        if isinstance(value, DictConfig) and not value._is_interpolation() and not value._is_none():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
