"""Write a model's weights for other programs, or as one folder that holds all of it.

timechat export --cfg-path X.yaml --output DIR --format llama         # LoRA merged, a plain LLaMA
timechat export --cfg-path X.yaml --output DIR --format safetensors   # everything, with its config
timechat export --cfg-path X.yaml --output DIR --format peft          # LoRA alone, a peft adapter

Folders are written beside their place and renamed. The model in memory is never changed: LoRA is merged on the way to
the disk, one shard at a time. See docs/CHECKPOINTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import transformers
from huggingface_hub import split_torch_state_dict_into_shards
from omegaconf import DictConfig, OmegaConf
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from timechat.cli.common import config_parser, run_main
from timechat.config import load_config
from timechat.device import PRECISIONS
from timechat.errors import CheckpointError, ConfigError
from timechat.models import TimeChat, build_model
from timechat.models.checkpoints import WEIGHT_FILES, canonical_name, part_of
from timechat.models.llama import TRAINED_CONTEXT, causal_lm
from timechat.models.weight_files import open_folder

logger = logging.getLogger(__name__)

MAX_SHARD_BYTES = 5_000_000_000
RECORD_FILE = "export.json"  # what was exported; it also marks a folder that --overwrite may replace
# What a LLaMA folder holds beside config.json and weights.
_COMPANIONS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "generation_config.json"),
    *("LICENSE*", "USE_POLICY*"),
)
_WEIGHT_KEYS = ("llama_model", *WEIGHT_FILES)


# Formats --------------------------------------------------------------------------------------------------------------


def export_llama(model: TimeChat, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write the decoder with LoRA merged into it, as a plain Hugging Face LLaMA folder.

    Each weight is W + scale * B A, computed in fp32 and rounded once to the decoder's precision. RoPE scaling, where
    the model has it, goes into `config.json`.

    Args:
        model: with LoRA.
        folder: where to; must be absent or empty unless `overwrite`.
        overwrite: replace an earlier export.

    Raises:
        ConfigError: the model or the folder cannot be used (see `check_export`).
        CheckpointError: the folder cannot be written.
    """
    with _new_folder(model.cfg, "llama", folder, overwrite) as new:
        llama = causal_lm(model.llama_model)
        layers = {f"{name}.weight": layer for name, layer in llama.named_modules() if isinstance(layer, LoraLayer)}
        _write_llama(llama, llama.config, Path(model.cfg.llama_model), new, layers)


def export_safetensors(model: TimeChat, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write everything that `build_model` needs, by published names and in the model's precisions.

    `llama/` is the decoder without LoRA, `qformer_tokenizer/` the vocabulary of timestamp sentences,
    `model.safetensors` all other parameters and buffers, LoRA among them. `config.yaml` names them by the path
    `folder` as it is given here: a relative one holds in the same working directory.

    Args, Raises: as for `export_llama`, but a model without LoRA will do.
    """
    with _new_folder(model.cfg, "safetensors", folder, overwrite) as new:
        llama, source = causal_lm(model.llama_model), Path(model.cfg.llama_model)
        # The folder's own config: this one's RoPE scaling follows from max_txt_len in config.yaml.
        _write_llama(llama, transformers.AutoConfig.from_pretrained(source), source, new / "llama", {})
        state = {canonical_name(name): tensor for name, tensor in model.state_dict().items()}
        rest = {name: tensor.contiguous() for name, tensor in state.items() if part_of(name) != "llama_model"}
        save_file(rest, new / "model.safetensors", metadata={"format": "pt"})
        if model.timestamp_tokenizer:
            model.timestamp_tokenizer.save(new / "qformer_tokenizer")
        _write_config(model, Path(folder), new / "config.yaml")


def export_peft(model: TimeChat, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write LoRA as an adapter folder for `peft.PeftModel.from_pretrained(base LLaMA, folder)`.

    Args, Raises: as for `export_llama`; also ConfigError when the weights below LoRA are not those of the base LLaMA,
        `model.llama_model`.
    """
    with _new_folder(model.cfg, "peft", folder, overwrite) as new:
        _check_base(causal_lm(model.llama_model), Path(model.cfg.llama_model))
        if model.cfg.max_txt_len > TRAINED_CONTEXT:
            logger.warning(
                "model.max_txt_len=%d scales the positions of LLaMA, and an adapter cannot say so: give the base model "
                "rope_parameters=%s, or export with --format llama",
                model.cfg.max_txt_len, causal_lm(model.llama_model).config.rope_parameters,
            )  # fmt: skip
        # "auto" would look on the hub for whether the vocabulary has grown; LoRA here never touches embeddings.
        model.llama_model.save_pretrained(str(new), save_embedding_layers=False)
        (new / "README.md").unlink(missing_ok=True)  # peft's model card, an unfilled form


EXPORTERS = {"llama": export_llama, "safetensors": export_safetensors, "peft": export_peft}


# LLaMA folders --------------------------------------------------------------------------------------------------------


def _base_state(llama: transformers.LlamaForCausalLM) -> dict[str, Tensor]:
    """The tensors below LoRA under their plain names; a tied head is left out, loading ties it again."""
    state = {canonical_name(name): tensor for name, tensor in llama.state_dict().items() if ".lora_" not in name}
    if llama.lm_head.weight is llama.model.embed_tokens.weight:
        del state["lm_head.weight"]
    return state


def _check_base(llama: transformers.LlamaForCausalLM, folder: Path) -> None:
    """An adapter is right on one base alone: a checkpoint, or training, may have given the model another one."""
    files = open_folder(folder, "model.llama_model")
    # The model's tensors may be on a GPU, the files' are not.
    state = _base_state(llama).items()
    changed = [name for name, own in state if not torch.equal(own.cpu(), files[name].read().to(own.dtype))]
    if changed:
        raise ConfigError(
            f"model.llama_model={folder}: {len(changed)} of its tensors, such as {changed[0]}, are not those below "
            "LoRA (a checkpoint brought others, or they were trained), so an adapter to it would be wrong. Export with "
            "--format safetensors first, then the adapter from that folder's config.yaml: its base is that llama/"
        )


def _write_llama(
    llama: transformers.LlamaForCausalLM,
    config: transformers.PretrainedConfig,
    source: Path,
    folder: Path,
    layers: Mapping[str, LoraLayer],
) -> None:
    """Write config, weights and the companions of `source`; `layers` to merge stand under their weights' names."""
    folder.mkdir(exist_ok=True)
    config = copy.deepcopy(config)
    config.dtype, config.architectures = llama.dtype, ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    _write_shards(_base_state(llama), layers, folder)
    for pattern in _COMPANIONS:
        for file in source.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _write_shards(state: Mapping[str, Tensor], layers: Mapping[str, LoraLayer], folder: Path) -> None:
    """Write tensors in files of at most MAX_SHARD_BYTES, merged when their file's turn comes: a copy of one at most."""
    split = split_torch_state_dict_into_shards(dict(state), max_shard_size=MAX_SHARD_BYTES)
    for file, names in split.filename_to_tensors.items():
        shard = {name: _merged(state[name], layers[name]) if name in layers else state[name] for name in names}
        save_file({name: tensor.contiguous() for name, tensor in shard.items()}, folder / file, {"format": "pt"})
        logger.info("wrote %s", file)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def _merged(weight: Tensor, layer: LoraLayer) -> Tensor:
    """W + scale * B A in fp32, rounded once to the precision of W."""
    total = weight.float()
    for adapter in layer.active_adapters:
        total = total + layer.get_delta_weight(adapter).float()
    return total.to(weight.dtype)


def _write_config(model: TimeChat, folder: Path, file: Path) -> None:
    """Write the model's section with the paths of the exported folder and the precisions that the weights have."""
    cfg = OmegaConf.merge(
        model.cfg,
        dict.fromkeys(_WEIGHT_KEYS, ""),
        {
            "llama_model": str(folder / "llama"),
            "ckpt": str(folder / "model.safetensors"),
            "llama_precision": _precision_name(causal_lm(model.llama_model).dtype),
            "vit_precision": _precision_name(next(model.visual_encoder.parameters()).dtype),
        },
    )
    if model.timestamp_tokenizer:
        cfg.qformer_tokenizer = str(folder / "qformer_tokenizer")
    file.write_text(
        "# Written by timechat export. Paths are relative to the working directory; after a move, change\n"
        "# llama_model, ckpt and qformer_tokenizer.\n" + OmegaConf.to_yaml(OmegaConf.create({"model": cfg}))
    )


def _precision_name(dtype: torch.dtype) -> str:
    return next(name for name, known in PRECISIONS.items() if known == dtype)


# Checks and folders ---------------------------------------------------------------------------------------------------


def check_export(cfg: DictConfig, export_format: str, folder: str | Path, overwrite: bool = False) -> None:
    """Refuse what cannot be exported, before minutes of loading weights.

    Args:
        cfg: the `model` section.
        export_format: llama, safetensors or peft.
        folder, overwrite: as for `export_llama`.

    Raises:
        ConfigError: 8-bit weights; no LoRA where it is what is exported; a folder with files in it, or with files
            that this model is loaded from.
    """
    if cfg.low_resource:
        raise ConfigError("model.low_resource=true holds LLaMA in 8 bits, which cannot be exported; set it to false")
    if export_format != "safetensors" and not cfg.lora:
        raise ConfigError(
            f"model.lora=false: there is no LoRA to export as {export_format}; --format safetensors exports this model"
        )
    _check_folder(cfg, Path(folder), overwrite)


def _check_folder(cfg: DictConfig, folder: Path, overwrite: bool) -> None:
    where = f"--output {folder}"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{where}: is a file; name a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"{where}: is not empty; name another folder, or add --overwrite to replace an export")
    if not (folder / RECORD_FILE).is_file():
        raise ConfigError(f"{where}: --overwrite replaces earlier exports, and this folder has no {RECORD_FILE}")
    inputs = {key: Path(cfg[key]).resolve() for key in (*_WEIGHT_KEYS, "qformer_tokenizer") if cfg[key]}
    if used := [key for key, path in inputs.items() if path.is_relative_to(folder.resolve())]:
        raise ConfigError(f"{where}: model.{', model.'.join(used)} is read from this folder; name another one")


@contextlib.contextmanager
def _new_folder(cfg: DictConfig, export_format: str, folder: str | Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` once everything is written, and else disappears."""
    check_export(cfg, export_format, folder, overwrite)
    final = Path(folder).resolve()
    new, old = (final.with_name(f".{final.name}.{os.getpid()}.{suffix}") for suffix in ("tmp", "old"))
    try:
        new.mkdir(parents=True)
        yield new
        record = {"format": export_format, "model": OmegaConf.to_container(cfg)}
        (new / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
        for file in new.rglob("*.safetensors"):  # safetensors makes files that nobody else may read
            shutil.copymode(new / RECORD_FILE, file)
        if final.exists():
            final.rename(old)
        new.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    logger.info("exported %s", folder)


# Command line ---------------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = config_parser(
        "Export a model: merged LLaMA, whole model as safetensors, or peft adapter.", "timechat export"
    )
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", help="folder to write; must be absent or empty")
    add("--format", required=True, choices=EXPORTERS, help="what to write (docs/CHECKPOINTS.md)")
    add("--ckpt", metavar="FILE", help="checkpoint in place of model.ckpt")
    add("--overwrite", action="store_true", help="replace an earlier export in --output")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, export; returns the exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        cfg = load_config(args.cfg_path, args.options).model
        if args.ckpt is not None:
            cfg.ckpt = args.ckpt
        check_export(cfg, args.format, args.output, args.overwrite)
        EXPORTERS[args.format](build_model(cfg), args.output, overwrite=args.overwrite)

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
