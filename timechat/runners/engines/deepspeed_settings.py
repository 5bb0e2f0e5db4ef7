"""A user's DeepSpeed file, `run.deepspeed_config`: offload, communication, whatever a cluster needs.

The YAML alone decides batch sizes, accumulation, precision, clipping, optimizer and ZeRO stage. The file may say the
same or "auto", as files for Hugging Face's trainer do; any other value would be ignored or break the run, so it is an
error that lists all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat.errors import ConfigError
from timechat.runners.plan import TrainingPlan

AUTO = "auto"
_ADAM_EPS = 1e-8  # of torch's AdamW
# Sections without effect unless they are enabled.
_SWITCHED = ("fp16", "bf16", "bfloat16", "amp", "torch_autocast", "elasticity")
# Sections that are never merged, because the run decides what they contain.
_DECIDED = (*_SWITCHED, "optimizer", "scheduler")


def user_settings(run: DictConfig, plan: TrainingPlan, precision: str) -> dict[str, Any]:
    """What the file named in `run.deepspeed_config` adds to our settings; nothing without a file.

    Args:
        run: the section of the config.
        plan: of the run, for the processes that are running.
        precision: fp32, bf16 or fp16.

    Raises:
        ConfigError: the file is missing, broken, or contradicts the run.
    """
    path = run.deepspeed_config
    if not path:
        return {}
    return without_decided(read_settings(path), decided_by_run(run, plan, precision), path)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a DeepSpeed file. Raises ConfigError: it is missing, not JSON, or names a key twice."""
    where = f"run.deepspeed_config={path}"
    try:
        settings = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file; correct the path, or set it to an empty text") from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({error}); correct the path") from error
    except ValueError as error:  # what is not UTF-8, too
        raise ConfigError(f"{where}: not valid JSON ({error}); correct the file") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{where}: expected an object of DeepSpeed's settings, got {type(settings).__name__}")
    for section in ("zero_optimization", *_DECIDED):
        if not isinstance(settings.get(section, {}), dict):
            raise ConfigError(f"{where}: {section}={settings[section]!r}: expected an object")
    return settings


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} occurs twice")
    return dict(pairs)


def decided_by_run(run: DictConfig, plan: TrainingPlan, precision: str) -> dict[str, tuple[Any, str]]:
    """Dotted key of DeepSpeed -> its value in this run, and where that comes from."""
    bf16 = (precision == "bf16", "run.precision")
    sizes = "run.batch_size_train, run.accum_grad_iters and the processes"
    skipping = "steps that are not finite are skipped"
    return {
        "train_batch_size": (plan.global_batch, sizes),
        "train_micro_batch_size_per_gpu": (plan.micro_batch, "run.batch_size_train"),
        "gradient_accumulation_steps": (plan.accumulation, sizes),
        "elasticity.enabled": (False, sizes),
        "gradient_clipping": (run.clip_grad_norm or 0.0, "run.clip_grad_norm"),
        "gradient_allreduce_op": ("mean", "the loss is a mean"),
        "fp16.enabled": (precision == "fp16", "run.precision"),
        "bf16.enabled": bf16,
        "bfloat16.enabled": bf16,
        "amp.enabled": (False, "run.precision"),
        "torch_autocast.enabled": (precision != "fp32", "run.precision"),
        "torch_autocast.dtype": ({"bf16": "bfloat16", "fp16": "float16"}.get(precision), "run.precision"),
        "optimizer.type": ("AdamW", "always"),
        "optimizer.params.lr": (run.init_lr, "run.init_lr"),
        "optimizer.params.betas": ([0.9, run.beta2], "run.beta2"),
        "optimizer.params.eps": (_ADAM_EPS, "always"),
        "optimizer.params.weight_decay": (run.weight_decay, "run.weight_decay"),
        "scheduler.type": (None, f"run.lr_sched={run.lr_sched} does it"),
        "zero_allow_untested_optimizer": (True, "always"),
        "zero_optimization.stage": (int(run.strategy[-1]), "run.strategy"),
        "zero_optimization.compute_grad_norm": (True, skipping),
        "zero_optimization.offload_optimizer.super_offload": (False, skipping),
    }


def without_decided(
    settings: Mapping[str, Any], decided: Mapping[str, tuple[Any, str]], path: str | Path
) -> dict[str, Any]:
    """The settings without those that the run decides and those that are "auto".

    Args:
        settings: of the file.
        decided: from `decided_by_run`.
        path: of the file, for messages.

    Raises:
        ConfigError: settings that contradict the run, all of them with both values.
    """
    kept: dict[str, Any] = {}
    conflicts = []
    idle = {name for name in _SWITCHED if settings.get(name, {}).get("enabled", False) in (False, AUTO)}
    for keys, value in _leaves(settings):
        dotted = ".".join(keys)
        if value == AUTO or (keys[0] in idle and keys[1:] != ("enabled",)):
            continue
        refused = _refused(keys, value)
        if refused:
            conflicts.append(f"{dotted}: {json.dumps(value)} there, {refused}")
        elif dotted in decided or keys[0] in _DECIDED:
            ours, source = decided.get(dotted, (None, "the run has none"))
            if not _same(value, ours):
                conflicts.append(f"{dotted}: {json.dumps(value)} there, {json.dumps(ours)} in this run ({source})")
        else:
            _put(kept, keys, value)
    if conflicts:
        raise ConfigError(
            f"run.deepspeed_config={path} contradicts the run; take these out of the file, or write "
            f'"{AUTO}":\n  ' + "\n  ".join(conflicts)
        )
    return kept


def _refused(keys: tuple[str, ...], value: Any) -> str:
    """Why a setting is not supported, whatever the run says, or an empty text."""
    if keys[0] == "zero_optimization" and keys[1:] == ("offload_optimizer", "device") and value == "nvme":
        return "cpu in this run (gradients on a disk cannot be checked before a step)"
    if keys[:2] == ("zero_optimization", "zenflow"):
        return "null in this run (a step would use gradients of earlier steps)"
    return ""


def _leaves(settings: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*before, key))
        else:
            yield (*before, key), value


def _put(settings: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        settings = settings.setdefault(key, {})
    settings[keys[-1]] = value


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_same, theirs, ours))
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return theirs is ours
    if isinstance(theirs, (int, float)) and isinstance(ours, (int, float)):
        return math.isclose(theirs, ours, rel_tol=1e-9)
    if isinstance(theirs, str) and isinstance(ours, str):
        return theirs.casefold() == ours.casefold()
    return theirs is None and ours is None


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Both settings, section by section; where both set a key, ours wins."""
    both = dict(theirs)
    for key, value in ours.items():
        if isinstance(value, Mapping) and isinstance(both.get(key), Mapping):
            both[key] = merged(value, both[key])
        else:
            both[key] = value
    return both
