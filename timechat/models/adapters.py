"""Adapter folders of peft, read as weight files: `adapter_config.json` and `adapter_model.safetensors` (or .bin)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat.errors import CheckpointError
from timechat.models.weight_files import Weights, open_weights

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")  # what the model's LoRA adapts: attention's projections
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# What changes the computation and has no key here, with the values that change nothing.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "bias": ("none", None),
}


def adapter_folder(path: str | Path) -> Path | None:
    """The adapter folder that a path means: itself, or the one that its file is the weights of; None for others."""
    path = Path(path)
    folder = path.parent if path.name in WEIGHTS else path
    return folder if (folder / CONFIG).is_file() else None


def weights_file(folder: Path) -> Path:
    """The file with an adapter's tensors."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / WEIGHTS[0])


def folder_problem(folder: Path, key: str) -> str:
    """What to do about a folder in the place of a weight file that is not an adapter's."""
    nested = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    if nested:
        return f"is a folder of adapters: set {key}={nested[0]}"
    return f"is a folder without {CONFIG}: name the weight file in it, or an adapter folder of peft"


def open_adapter(folder: Path, key: str, cfg: DictConfig) -> Weights:
    """The tensors of an adapter by published name.

    Args:
        folder: from `adapter_folder`.
        key: the setting that names it, for messages.
        cfg: the `model` section, whose LoRA must be of the same kind and size.

    Raises:
        CheckpointError: it is damaged, or another kind or size of adapter than the model has.
    """
    source = f"{key}={folder}"
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source}: its {CONFIG} cannot be read ({error}); save it again") from error
    problems = list(_problems(settings, cfg)) if isinstance(settings, dict) else [f"{CONFIG} holds no settings"]
    if problems:
        raise CheckpointError(f"{source}: this adapter does not fit the model: {'; '.join(problems)}")
    opened = open_weights(weights_file(folder), key)
    named = {f"llama_model.{name}": tensor for name, tensor in opened.items()}
    return Weights(named, ["an adapter of peft", *opened.notes])


def _problems(settings: dict[str, Any], cfg: DictConfig) -> Iterator[str]:
    for name, plain in _PLAIN.items():
        if settings.get(name, plain[-1]) not in plain:
            yield f"{name}={settings[name]!r} is not supported"
    if not cfg.get("lora"):
        yield "it is LoRA, and the model has none: set model.lora=true"
    targets = settings.get("target_modules")
    adapted = {str(name).rpartition(".")[2] for name in targets} if isinstance(targets, list) else set(LORA_TARGETS)
    if adapted != set(LORA_TARGETS):
        yield (
            f"it adapts {', '.join(sorted(adapted))}, the model's LoRA {', '.join(LORA_TARGETS)}: merge it into "
            "its base with peft (merge_and_unload, save_pretrained), and name that folder in model.llama_model"
        )
    wanted = {"lora_r": settings.get("r"), "lora_alpha": settings.get("lora_alpha")}
    different = [name for name, value in wanted.items() if cfg.get(name) != value]
    if different:
        now = ", ".join(f"model.{name}={cfg.get(name)}" for name in different)
        then = " ".join(f"model.{name}={wanted[name]}" for name in different)
        yield f"it was trained with another size or scale than {now}: set {then}"
