"""A model on its way out: merged LLaMA, peft adapter, or the whole model as one folder, and back from that folder.

Exports are written beside their place and renamed. The model in memory is never changed: LoRA is merged on the way to
the disk, one shard at a time. See docs/CHECKPOINTS.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import peft
from omegaconf import DictConfig
from safetensors import SafetensorError

from timechat.config import file_keys, plain
from timechat.errors import CheckpointError, ConfigError, TimeChatError
from timechat.io import write_json
from timechat.model_folder import write_model_config
from timechat.models import BaseModel, TimeChat, build_model, must_answer
from timechat.models.checkpoints import WEIGHT_FILES, canonical_name
from timechat.models.llama import TRAINED_CONTEXT, causal_lm
from timechat.models.llama_folder import check_base, older_rope, write_llama, write_shards
from timechat.registry import registry
from timechat.schema import group_of

logger = logging.getLogger(__name__)

RECORD_FILE = "export.json"  # what was exported; it also marks a folder that --overwrite may replace


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
        write_llama(llama, llama.config, Path(model.cfg.llama_model), new, merge=True)


def export_safetensors(
    model: BaseModel, folder: str | Path, *, overwrite: bool = False, imports: Sequence[str] = ()
) -> None:
    """Write everything that `build_model` needs, by published names and in the model's precisions; see `write_model`.

    Args, Raises: as for `export_llama`, but a model without LoRA will do; `imports` as for `write_model`.
    """
    with _new_folder(model.cfg, "safetensors", folder, overwrite) as new:
        write_model(model, new, imports)


def export_peft(model: TimeChat, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write LoRA as an adapter folder for `peft.PeftModel.from_pretrained(base LLaMA, folder)`.

    Args, Raises: as for `export_llama`; also ConfigError when the weights below LoRA are not those of the base LLaMA,
        `model.llama_model`.
    """
    with _new_folder(model.cfg, "peft", folder, overwrite) as new:
        check_base(causal_lm(model.llama_model), Path(model.cfg.llama_model))
        if model.cfg.max_txt_len > TRAINED_CONTEXT:
            rope = causal_lm(model.llama_model).config.rope_parameters
            logger.warning(
                "model.max_txt_len=%d scales the positions of LLaMA, and an adapter cannot say so: give the base model "
                "rope_parameters=%s (before transformers 5: rope_scaling=%s), or export with --format llama",
                model.cfg.max_txt_len, rope, older_rope(rope)["rope_scaling"],
            )  # fmt: skip
        # "auto" would look on the hub for whether the vocabulary has grown; LoRA here never touches embeddings.
        cast(peft.PeftModel, model.llama_model).save_pretrained(str(new), save_embedding_layers=False)
        (new / "README.md").unlink(missing_ok=True)  # peft's model card, an unfilled form


EXPORTERS: dict[str, Callable[..., None]] = {
    "llama": export_llama,
    "safetensors": export_safetensors,
    "peft": export_peft,
}


# The whole model ------------------------------------------------------------------------------------------------------


def write_model(model: BaseModel, folder: Path, imports: Sequence[str] = ()) -> None:
    """Fill a folder with all that a model is made of, as `timechat/model_folder.py` describes it.

    Args:
        model: any that is registered.
        folder: which is there.
        imports: modules that register the model and what it needs, as the config names them under `import:`.

    Raises:
        ConfigError: the model is built from a file that its `write_files` does not write.
    """
    written = {**dict.fromkeys(WEIGHT_FILES, ""), "allow_unexpected": False, **model.write_files(folder)}
    state = {canonical_name(name): tensor for name, tensor in model.state_dict().items()}
    rest = {name: tensor for name, tensor in state.items() if not model.is_in_files(name)}
    written["ckpt"] = Path(write_shards(rest, folder))
    section = plain(model.cfg, resolve=True)
    own = file_keys(group_of(registry.config_of("model", model.cfg.arch)))
    forgotten = [key for key in own if key not in written and section[key]]
    if forgotten:
        raise ConfigError(
            f"model.{forgotten[0]}={section[forgotten[0]]}: {type(model).__name__}.write_files has to write this file, "
            "so that the folder needs nothing else"
        )
    settings = {key: value for key, value in written.items() if key in section and key not in own}
    kept = {key: value for key, value in section.items() if key not in own}
    files = {key: value.as_posix() for key, value in written.items() if isinstance(value, Path)}
    write_model_config(folder, kept | settings, files, imports)


def build_saved(cfg: DictConfig, source: str) -> BaseModel:
    """Build the model of a folder that `write_model` filled: every tensor comes from there, and none is left over.

    Args:
        cfg: the `model` section that `load_config(folder)` gives.
        source: what to call the folder in messages.

    Raises:
        ConfigError, CheckpointError: files that are damaged, that lack tensors or hold others.
    """
    try:
        model = build_model(cfg)
    except TimeChatError:
        raise
    except Exception as error:  # whatever somebody else's files make the libraries raise
        raise CheckpointError(
            f"{source}: no model can be built from it ({type(error).__name__}: {error}); save or download it again"
        ) from error
    reports = model.load_reports
    given = {name for report in reports for name in (*report.loaded, *report.buffers)}
    own = {canonical_name(name) for name in model.state_dict()}
    missing = sorted(name for name in own - given if not model.is_in_files(name))
    strange = sorted(name for report in reports for name in (*report.foreign, *report.unused))
    problems = [
        f"{what} {len(names)} tensors, such as {', '.join(names[:3])}"
        for what, names in (("lacks", missing), ("has no place for", strange))
        if names
    ]
    if problems:
        raise CheckpointError(f"{source}: {cfg.arch} {' and '.join(problems)}; save or download it again")
    return model


# Checks and folders ---------------------------------------------------------------------------------------------------


def check_export(cfg: DictConfig, export_format: str, folder: str | Path, overwrite: bool = False) -> None:
    """Refuse what cannot be exported, before minutes of loading weights.

    Args:
        cfg: the `model` section.
        export_format: llama, safetensors or peft.
        folder, overwrite: as for `export_llama`.

    Raises:
        ConfigError: a model without a decoder; 8-bit weights; no LoRA where it is what is exported; a folder with
            files in it, or with files that this model is loaded from.
    """
    must_answer(cfg, llama=export_format != "safetensors")
    check_precision(cfg)
    if export_format != "safetensors" and not cfg.lora:
        raise ConfigError(
            f"model.lora=false: there is no LoRA to export as {export_format}; --format safetensors exports this model"
        )
    _check_folder(cfg, Path(folder), overwrite)


def check_precision(cfg: DictConfig) -> None:
    """Refuse 8-bit weights, which are not what was trained. Raises ConfigError."""
    if cfg.get("low_resource"):
        raise ConfigError("model.low_resource=true holds LLaMA in 8 bits, which cannot be exported; set it to false")


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
    keys = dict.fromkeys(("llama_model", *WEIGHT_FILES, *file_keys(group_of(registry.config_of("model", cfg.arch)))))
    used = [key for key in keys if cfg.get(key) and Path(cfg[key]).resolve().is_relative_to(folder.resolve())]
    if used:
        raise ConfigError(f"{where}: model.{', model.'.join(used)} is read from this folder; name another one")


@contextlib.contextmanager
def _new_folder(cfg: DictConfig, export_format: str, folder: str | Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` once everything is written, and else disappears."""
    check_export(cfg, export_format, folder, overwrite)
    final = Path(folder).resolve()
    with temporary_folder(final) as new:
        yield new
        record = {"format": export_format, "model": plain(cfg)}
        write_json(new / RECORD_FILE, record)
        old = final.with_name(f"{new.name}.old")
        if final.exists():
            final.rename(old)
        new.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    logger.info("exported %s", folder)


@contextlib.contextmanager
def temporary_folder(final: Path) -> Iterator[Path]:
    """A folder beside `final`, which is gone afterwards unless it was renamed.

    Raises:
        CheckpointError: nothing can be written there.
    """
    new = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        new.mkdir(parents=True)
        yield new
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{final}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
