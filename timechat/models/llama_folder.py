"""Hugging Face LLaMA folders, written: without LoRA as the model has it, or with LoRA merged into the weights."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import split_torch_state_dict_into_shards
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from timechat.errors import ConfigError
from timechat.io import write_json
from timechat.model_folder import INDEX, WEIGHTS
from timechat.models.checkpoints import canonical_name
from timechat.models.weight_files import open_folder

logger = logging.getLogger(__name__)

MAX_SHARD_BYTES = 5_000_000_000
DEFAULT_THETA = 10000.0  # base of the rotary angles
# What a LLaMA folder holds beside config.json and weights.
_COMPANIONS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "generation_config.json"),
    *("LICENSE*", "USE_POLICY*"),
)


def write_llama(
    llama: transformers.LlamaForCausalLM,
    config: transformers.PretrainedConfig,
    source: Path,
    folder: Path,
    merge: bool = False,
) -> None:
    """Write a decoder as a plain Hugging Face folder.

    Args:
        llama: from under peft's wrapper.
        config: what its `config.json` says, but for the precision.
        source: the folder that it was built from, whose tokenizer and licence are copied.
        folder: where to.
        merge: whether LoRA is merged into the weights, or left out.
    """
    folder.mkdir(exist_ok=True)
    config = copy.deepcopy(config)
    config.dtype, config.architectures = llama.dtype, ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    written = folder / "config.json"
    write_json(written, json.loads(written.read_text(encoding="utf-8")) | older_rope(config.rope_parameters))
    layers = {f"{name}.weight": layer for name, layer in llama.named_modules() if isinstance(layer, LoraLayer)}
    write_shards(_base_state(llama), folder, layers if merge else {})
    for pattern in _COMPANIONS:
        for file in source.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def older_rope(parameters: Mapping[str, object] | None) -> dict[str, Any]:
    """The keys in which transformers before version 5 looks for the positions' base and scaling.

    They stand beside `rope_parameters`, which those versions ignore: without them positions would silently not be
    scaled. Up to version 4.42 only linear and dynamic scaling can be read, with exactly the keys type and factor.
    """
    parameters = parameters or {}
    others = {name: value for name, value in parameters.items() if name not in ("rope_theta", "rope_type", "type")}
    kind = parameters.get("rope_type", "default")
    scaling = None if kind == "default" else {"type" if others.keys() == {"factor"} else "rope_type": kind, **others}
    return {"rope_theta": parameters.get("rope_theta", DEFAULT_THETA), "rope_scaling": scaling}


def write_shards(state: Mapping[str, Tensor], folder: Path, layers: Mapping[str, LoraLayer] | None = None) -> str:
    """Write tensors in files of at most MAX_SHARD_BYTES, merged when their file's turn comes: a copy of one at most.

    Args:
        state: tensors by name.
        folder: where to.
        layers: those whose LoRA is to be merged, by the name of their weight.

    Returns:
        The name of the file that stands for all of them: `model.safetensors`, or the index of the shards.
    """
    layers = layers or {}
    split = split_torch_state_dict_into_shards(dict(state), max_shard_size=MAX_SHARD_BYTES)
    for file, names in split.filename_to_tensors.items():
        shard = {name: _merged(state[name], layers[name]) if name in layers else state[name] for name in names}
        save_file(_unshared(shard), folder / file, {"format": "pt"})
        (folder / file).chmod(folder.stat().st_mode & 0o666)  # safetensors makes files that nobody else may read
        logger.info("wrote %s", file)
    if not split.is_sharded:
        return WEIGHTS
    write_json(folder / INDEX, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})
    return INDEX


def _unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers in memory of their own, which safetensors asks for: tied parameters are written twice."""
    seen: set[int] = set()
    own = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return own


@torch.no_grad()
def _merged(weight: Tensor, layer: LoraLayer) -> Tensor:
    """W + scale * B A in fp32, rounded once to the precision of W."""
    total = weight.float()
    for adapter in layer.active_adapters:
        # Each kind of layer has this method, their base does not.
        total = total + layer.get_delta_weight(adapter).float()  # type: ignore[attr-defined]  # of LoRA's layers
    return total.to(weight.dtype)


def _base_state(llama: transformers.LlamaForCausalLM) -> dict[str, Tensor]:
    """The tensors below LoRA under their plain names; a tied head is left out, loading ties it again."""
    state = {canonical_name(name): tensor for name, tensor in llama.state_dict().items() if ".lora_" not in name}
    if llama.lm_head.weight is llama.model.embed_tokens.weight:
        del state["lm_head.weight"]
    return state


def check_base(llama: transformers.LlamaForCausalLM, folder: Path) -> None:
    """An adapter is right on one base alone: a checkpoint, or training, may have given the model another one.

    Raises:
        ConfigError: the weights below LoRA are not those of the folder.
    """
    files = open_folder(folder, "model.llama_model")
    # The model's tensors may be on a GPU, the files' are not.
    state = _base_state(llama).items()
    changed = [name for name, own in state if not torch.equal(own.cpu(), files[name].read().to(own.dtype))]
    if changed:
        raise ConfigError(
            f"model.llama_model={folder}: {len(changed)} of its tensors, such as {changed[0]}, are not those below "
            "LoRA (a checkpoint brought others, or they were trained), so an adapter to it would be wrong. Export with "
            "--format safetensors first, then the adapter from that folder: its base is that llama/"
        )
