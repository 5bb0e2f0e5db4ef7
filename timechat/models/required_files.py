"""Every file that the section `model` of a config names: what of it is missing, said at once and before anything slow.

Only existence is checked. What a file contains is checked where it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from timechat.models.adapters import adapter_folder, folder_problem, weights_file
from timechat.models.checkpoints import WEIGHT_FILES, weight_path
from timechat.sources import Missing, advice, missing_path
from timechat.text.tokenizers import (
    find_vocabulary,
    missing_model_advice,
    vocabulary_command,
    vocabulary_from_hub,
)

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
LLAMA_WEIGHTS = (INDEXES[0], "model.safetensors", INDEXES[1], "pytorch_model.bin")


def missing_model_files(model: DictConfig, *, download: bool = True) -> Iterator[Missing]:
    """What is missing of the files that a `model` section names, in the order of loading.

    Args:
        model: the section; models without a decoder or a Q-Former lack some of its keys.
        download: whether a vocabulary that is nowhere on this machine may be fetched from the hub.
    """
    for key in WEIGHT_FILES:
        if path := weight_path(model.get(key) or ""):
            yield from _missing_weights(f"model.{key}", Path(path))
    if "llama_model" in model:
        yield from _missing_of_llama(Path(model.llama_model))
    if model.get("qformer_text_input"):
        name = model.qformer_tokenizer
        if not find_vocabulary(name) and not (download and vocabulary_from_hub(name)):
            what = f"no vocab.txt there, under ckpt/{Path(name).name} or in the hub's cache"
            what += ", and it cannot be downloaded from here" if download else ""
            yield Missing(f"model.qformer_tokenizer={name}", what, f"get it with: {vocabulary_command(name)}")


def _missing_weights(key: str, path: Path) -> Iterator[Missing]:
    folder = adapter_folder(path)
    if folder and not weights_file(folder).is_file():
        yield missing_path(key, weights_file(folder), "no such file")
    elif path.is_dir() and not folder:
        yield Missing(f"{key}={path}", folder_problem(path, key))
    elif not path.exists():
        yield missing_path(key, path, "no such file")


def _missing_of_llama(folder: Path) -> Iterator[Missing]:
    key = "model.llama_model"
    if not folder.is_dir():
        yield missing_path(key, folder, "no such folder; it must be a Hugging Face LLaMA folder")
        return
    source = advice(folder, key).removesuffix("; ")
    if not (folder / "config.json").is_file():
        yield Missing(f"{key}={folder}", "no config.json there", source)
    if not (folder / "tokenizer.model").is_file():
        yield Missing(f"{key}={folder}", "no SentencePiece model (tokenizer.model) there", missing_model_advice(folder))
    found = next((name for name in LLAMA_WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        yield Missing(f"{key}={folder}", f"no weights there, none of {', '.join(LLAMA_WEIGHTS)}", source)
    elif found in INDEXES:
        absent = [name for name in _shards(folder / found) if not (folder / name).is_file()]
        if absent:
            yield Missing(f"{key}={folder}", f"lacks shards that {found} names: {', '.join(absent)}", source)


def _shards(index: Path) -> list[str]:
    """The files that an index names; none if it is damaged, which the loader says."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
