"""Read and write weights; every key of every file is accounted for.

Published files hold tensors under "model" or at the top level, with the parameter names that the modules here have. A
file may leave out a whole *part* (the Q-Former, LoRA, ...), but never some of a part's tensors. Keys of our parts that
fit nothing or have another shape, and tensors missing from a part, are errors; keys of other models are listed in the
report.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from timechat.errors import CheckpointError
from timechat.io import replacing
from timechat.models.adapters import adapter_folder, folder_problem, open_adapter
from timechat.models.weight_files import LazyTensor, Weights, is_finite, open_weights
from timechat.sources import EVA_VIT_G, find

if TYPE_CHECKING:
    from timechat.models.base import BaseModel

logger = logging.getLogger(__name__)

EVA_CLIP_G = "eva_clip_g"  # the ViT's file in published configs

POS_EMBED = "visual_encoder.pos_embed"
FRAME_POSITIONS = "video_frame_position_embedding.weight"

# Config keys that name weight files besides LLaMA's folder, in the order in which they are loaded; later ones win.
WEIGHT_FILES = ("vit_model", "q_former_model", "ckpt", "ckpt_2", "llama_proj_model")

# Files from which only some parts are read; our other parts in them count as unused.
TAKES = {
    "vit_model": {"visual_encoder", "ln_vision"},
    "q_former_model": {"Qformer", "query_tokens", "ln_vision"},
    "llama_proj_model": {"llama_proj"},
}

# Buffers that published files contain but every model computes itself.
_BUFFERS = re.compile(r"(\.position_ids|\.rotary_emb\..*|\.relative_position_index)$")
# What DistributedDataParallel, torch.compile and Lightning put before all names.
_PREFIXES = re.compile(r"^(?:(?:module|_orig_mod|model)\.)+")
_NAMED_LORA = re.compile(r"(\.lora_[AB]\.)([^.]+)(\.weight)$")
_UNNAMED_LORA = re.compile(r"\.lora_([AB])\.weight$")
# BLIP-2 drops the ViT's last block and head; file and config agree on where.
_VIT_TAIL = re.compile(r"visual_encoder\.(head|norm|fc_norm)\.")
DECODER_PARTS = ("llama_model", "LoRA", "llama_proj")
_VIT_BLOCK = re.compile(r"visual_encoder\.blocks\.(\d+)\.")
_TEXT_PATH = re.compile(
    r"Qformer\.bert\.(embeddings\.(word|position)_embeddings|encoder\.layer\.\d+\.(intermediate|output))\."
)


def canonical_name(name: str) -> str:
    """The published name of a parameter, whichever version of peft wrote it.

    Newer versions put `base_layer` into the names of the layers that LoRA wraps; the first versions, and the adapter
    folders of all versions, omit the adapter's name `default`. torch.compile adds `_orig_mod`.
    """
    return _UNNAMED_LORA.sub(r".lora_\1.default.weight", name.replace(".base_layer.", ".").replace("._orig_mod.", "."))


def part_of(name: str) -> str | None:
    """Which part of the model a published name belongs to; None for names of other models."""
    top = name.split(".", 1)[0]
    if top in ("Qformer", "video_Qformer"):
        return top if name.startswith(f"{top}.bert.") else None
    if top == "llama_model":
        return "LoRA" if ".lora_" in name else "llama_model"
    own = ("visual_encoder", "ln_vision", "query_tokens", "video_query_tokens", "llama_proj")
    return top if top in (*own, "video_frame_position_embedding") else None


def part_in_model(name: str) -> str:
    """Which part of a model a parameter of it belongs to: a published one, else the module that it stands in."""
    name = canonical_name(name)
    return part_of(name) or name.split(".", 1)[0]


@dataclass
class LoadReport:
    """What happened to every key of one file.

    Attributes:
        source: the config key and the file.
        loaded: keys whose tensors are in the model now.
        resized: those of them that were interpolated.
        buffers: buffers, ignored by name.
        unused: keys that the config leaves out on purpose (the ViT's last block, the text path without text).
        foreign: keys of other models.
        unexpected: keys of our parts that fit nothing (an error unless allowed).
        notes: what was taken off to find the tensors: an entry of the file, a prefix, an adapter's name.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("resized", "buffers", "unused", "foreign", "unexpected")}
        extra = "".join(f", {len(keys)} {name}" for name, keys in counts.items() if keys)
        prefixes = sorted({".".join(key.split(".")[:2]) for key in self.foreign})
        listed = f" (foreign: {', '.join(prefixes)})" if prefixes else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.source}: {len(self.loaded)} tensors loaded{extra}{listed}{notes}"


def load_weights(
    model: BaseModel,
    state: Mapping[str, Tensor | LazyTensor],
    source: str,
    *,
    parts: set[str] | None = None,
    allow_unexpected: bool = False,
) -> LoadReport:
    """Copy a state dict with published names into the model, in the model's precision.

    Args:
        model: any; it says which keys it leaves out.
        state: tensors by published name (peft's newer `base_layer` names work, too), read one by one.
        source: its name in messages.
        parts: load only these; None loads all.
        allow_unexpected: turn unexpected keys of our parts into warnings.

    Raises:
        CheckpointError: listing every key that is missing, unexpected or misshapen.
    """
    own = {canonical_name(name): tensor for name, tensor in model.state_dict(keep_vars=True).items()}
    report = LoadReport(source, notes=list(getattr(state, "notes", ())))
    names = _published_names(state, own, report)
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    problems = [f"twice, under old and new names: {_some(twice)}"] if twice else []
    state = {names[name]: tensor for name, tensor in state.items()}
    for name in state:
        _note_key(model, own, name, parts, report)
    ties = _ties(own, report.loaded)
    problems += _copy_all(own, {name: state[name] for name in report.loaded if name not in ties}, report)
    if not problems:
        _compare_ties(own, ties, state, source)
    problems += _incomplete_parts(own, set(report.loaded))
    if report.unexpected:
        message = f"unexpected: {_some(report.unexpected)}"
        if allow_unexpected:
            logger.warning("%s: %s", source, message)
        else:
            problems.append(f"{message} (model.allow_unexpected=true turns this into a warning)")
    if problems:
        raise CheckpointError(f"{source}: does not fit the model:\n  " + "\n  ".join(problems))
    logger.info("%s", report)
    return report


def _note_key(model: BaseModel, own: dict[str, Tensor], name: str, parts: set[str] | None, report: LoadReport) -> None:
    """Add a key of a file to the right list of the report."""
    part = part_of(name)
    if _BUFFERS.search(name):
        report.buffers.append(name)
    elif part is not None and parts is not None and part not in parts:
        report.unused.append(name)
    elif name in own:
        report.loaded.append(name)
    elif part is None:
        report.foreign.append(name)
    elif model.leaves_out(name):
        report.unused.append(name)
    else:
        report.unexpected.append(name)


def _published_names(names: Iterable[str], own: Mapping[str, Tensor], report: LoadReport) -> dict[str, str]:
    """The published name of each key of a file: without prefixes of wrappers, and with the model's adapter's name."""
    found: dict[str, str] = {}
    prefixes = set()
    for name in names:
        found[name] = canonical_name(name)
        if found[name] not in own and part_of(found[name]) is None:
            bare = _PREFIXES.sub("", found[name])
            if bare in own or part_of(bare) is not None:
                prefixes.add(found[name].removesuffix(bare))
                found[name] = bare
    adapters = {match[2] for name in found.values() if (match := _NAMED_LORA.search(name))}
    if len(adapters) == 1 and adapters != {"default"}:
        (adapter,) = adapters
        found = {key: _NAMED_LORA.sub(r"\1default\3", name) for key, name in found.items()}
        report.notes.append(f"its adapter {adapter!r} is the model's")
    report.notes += [f"without the prefix {prefix}" for prefix in sorted(prefixes - {""})]
    return found


def _ties(own: Mapping[str, Tensor], loaded: Iterable[str]) -> dict[str, str]:
    """Names of a file for parameters that it also has under an earlier name (tied embeddings), and that name."""
    places = {name: i for i, name in enumerate(own)}
    first: dict[int, str] = {}
    return {
        name: first[id(own[name])]
        for name in sorted(loaded, key=places.__getitem__)
        if first.setdefault(id(own[name]), name) != name
    }


def _compare_ties(
    own: Mapping[str, Tensor], ties: Mapping[str, str], state: Mapping[str, Tensor | LazyTensor], source: str
) -> None:
    """Warn of a file that has two different tensors for one parameter; the first is loaded."""
    for name, first in ties.items():
        other = _read(state[name])
        if not torch.equal(other.to(own[first].dtype).cpu(), own[first].detach().cpu()):
            logger.warning(
                "%s: its %s differs from its %s, and the model has one tensor for both (tie_word_embeddings): the "
                "former is ignored; is the file of another model?", source, name, first
            )  # fmt: skip


def encoder_leaves_out(name: str, depth: int, text_input: bool) -> bool:
    """Whether the config omits a key of ViT or Q-Formers: the ViT's last block, the text path without text.

    Args:
        name: the key.
        depth: blocks of the model's ViT.
        text_input: whether its Q-Former reads text.
    """
    block = _VIT_BLOCK.match(name)
    if block:
        return int(block[1]) == depth
    return bool(_VIT_TAIL.match(name) or (not text_input and _TEXT_PATH.match(name)))


def _copy_all(own: Mapping[str, Tensor], state: Mapping[str, Tensor | LazyTensor], report: LoadReport) -> list[str]:
    """Copy tensors into the model; returns the problems of those that do not fit or are no numbers."""
    problems, sick = [], []
    for name, tensor in state.items():
        problem = _copy(own[name], name, tensor, report)
        if problem:
            problems.append(problem)
        elif not is_finite(own[name]):
            sick.append(name)
    if sick:
        problems.append(
            f"NaN or infinite (in {_dtype(own[sick[0]])}): {_some(sick)}; the file is damaged or its training "
            "diverged: use an earlier one"
        )
    return problems


def _copy(target: Tensor, name: str, source: Tensor | LazyTensor, report: LoadReport) -> str | None:
    """Copy one tensor, resized if that is defined for it; returns the problem if it does not fit."""
    if source.shape != target.shape and name not in _RESIZE:
        return _misshapen(name, source, target)
    tensor = _read(source)
    if tensor.shape != target.shape:
        resized = _RESIZE[name](tensor, target)
        if resized is not None:
            report.resized.append(name)
            tensor = resized
    if tensor.shape != target.shape:
        return _misshapen(name, tensor, target)
    if tensor.is_floating_point() != target.is_floating_point():
        return f"of another kind: {name} is {_dtype(tensor)} in the file, {_dtype(target)} in the model"
    with torch.no_grad():
        target.copy_(tensor)
    return None


def _read(source: Tensor | LazyTensor) -> Tensor:
    return source.read() if isinstance(source, LazyTensor) else source


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _misshapen(name: str, source: Tensor | LazyTensor, target: Tensor) -> str:
    return f"misshapen: {name} is {list(source.shape)} in the file, {list(target.shape)} in the model"


def _resize_pos_embed(tensor: Tensor, target: Tensor) -> Tensor | None:
    """The ViT's position embeddings [1, 1 + n^2, E] for another image size: the grid is interpolated.

    Plain bicubic as in the published code: antialiasing, timm's default, would smooth a grid that gets smaller.
    """
    old_side, side = (math.isqrt(max(0, t.shape[1] - 1)) if t.ndim == 3 else 0 for t in (tensor, target))
    if not old_side or tensor.shape != (1, 1 + old_side**2, target.shape[2]):
        return None
    return resample_abs_pos_embed(tensor.float(), [side, side], num_prefix_tokens=1, antialias=False)


def resize_frame_positions(tensor: Tensor, target: Tensor) -> Tensor | None:
    """Frame positions [n, D] for another `max_frame_pos`: nearest neighbour, as the published code does it."""
    if tensor.ndim != 2 or tensor.shape[1] != target.shape[1]:
        return None
    return F.interpolate(tensor.float().T[None], size=target.shape[0], mode="nearest")[0].T


_RESIZE: dict[str, Callable[[Tensor, Tensor], Tensor | None]] = {
    POS_EMBED: _resize_pos_embed,
    FRAME_POSITIONS: resize_frame_positions,
}


def _incomplete_parts(own: dict[str, Tensor], loaded: set[str]) -> list[str]:
    """Names that are missing from parts of which the file has some tensors."""
    begun = {part_in_model(name) for name in loaded}
    there = {id(own[name]) for name in loaded}  # a tied parameter needs only one of its names
    missing = [n for n in own if part_in_model(n) in begun and id(own[n]) not in there and not _BUFFERS.search(n)]
    return [f"missing: {_some(missing)}"] if missing else []


def _some(names: Iterable[str], limit: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def weight_path(value: str) -> str:
    """The path behind a config value: `eva_clip_g` means the ViT's file, in whichever published place it is."""
    return find(EVA_VIT_G) if value == EVA_CLIP_G else value


def load_configured_weights(model: BaseModel, cfg: DictConfig) -> list[LoadReport]:
    """Load every file that the `model` section names; later files win.

    `vit_model` (ViT names without prefix, or a model's checkpoint), `q_former_model` (only Q-Former, query tokens and
    ln_vision), `ckpt`, `ckpt_2`, `llama_proj_model` (only the projection). Parts that no file contains keep their
    initial values and are named in a warning.

    Raises:
        CheckpointError: see `open_weights` and `load_weights`.
    """
    reports = []
    for key in WEIGHT_FILES:
        path = weight_path(cfg.get(key, ""))
        if not path:
            continue
        source = f"model.{key}={path}"
        folder = adapter_folder(path)
        if folder is None and Path(path).is_dir():
            raise CheckpointError(f"{source}: {folder_problem(Path(path), f'model.{key}')}")
        state = open_adapter(folder, f"model.{key}", cfg) if folder else open_weights(path, f"model.{key}")
        if key == "vit_model":
            state = _of_frame_encoder(state)
        reports.append(load_weights(model, state, source, parts=TAKES.get(key), allow_unexpected=cfg.allow_unexpected))
        if not reports[-1].loaded:
            raise CheckpointError(
                f"{source}: none of its {len(state)} tensors belongs to TimeChat; is it the right file?"
            )
    loaded = {part_in_model(name) for report in reports for name in report.loaded} | {"llama_model"}
    initial = sorted({part_in_model(name) for name, _ in model.named_parameters()} - loaded)
    if initial:
        logger.warning("no weight file contains %s: they keep their random initial values", ", ".join(initial))
    return reports


def _of_frame_encoder(state: Weights) -> Weights:
    """The ViT's own names, under the name that it has in the model; a checkpoint of the model keeps its names."""
    if any(part_of(name) == "visual_encoder" for name in state):
        return state
    prefixes = sorted({match[0] for name in state if (match := _PREFIXES.match(name))})
    notes = [*state.notes, *(f"without the prefix {prefix}" for prefix in prefixes)]
    return Weights({f"visual_encoder.{_PREFIXES.sub('', name)}": tensor for name, tensor in state.items()}, notes)


def trainable_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The content of published checkpoints under "model": trainable parameters and buffers, by published name.

    A parameter with several names (a decoder's head that is its embedding table) is there once, under the first.
    """
    first: dict[nn.Parameter, str] = {}
    omitted = {
        name
        for name, p in model.named_parameters(remove_duplicate=False)
        if first.setdefault(p, name) != name or not p.requires_grad
    }
    return {canonical_name(name): tensor for name, tensor in model.state_dict().items() if name not in omitted}


def save_file(content: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint under a temporary name and rename it, so that it is never half written."""
    with replacing(path) as temporary:
        torch.save(content, temporary)
