"""Section 2: every file that a config names: whether it exists and is what it should be."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat.cli.doctor.report import Report, ReportSection, size_text
from timechat.datasets.builders import VIDEOS, DatasetBuilder
from timechat.errors import TimeChatError
from timechat.lfs import pointer_problem
from timechat.models.adapters import adapter_folder, weights_file
from timechat.models.checkpoints import WEIGHT_FILES, weight_path
from timechat.models.required_files import LLAMA_WEIGHTS
from timechat.registry import registry
from timechat.runners.missing_files import look_for_videos
from timechat.runners.missing_videos import describe
from timechat.sources import advice
from timechat.text.tokenizers import find_vocabulary, load_tokenizer, vocabulary_command, vocabulary_from_hub

_MARKUP = re.compile(rb"\s*(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)
_PICKLE = b"\x80"


def check_files(report: Report, cfg: DictConfig) -> None:
    """Check the paths of weights, decoder, vocabularies, annotations and videos."""
    with report.section("2. Files") as section:
        for key, path in _weight_paths(cfg):
            folder = adapter_folder(path)
            _look_at(section, key, weights_file(folder) if folder else path, weights=True)
        _llama_folder(section, Path(cfg.model.llama_model))
        if cfg.model.qformer_text_input:
            _vocabulary(section, cfg.model)
        for name, entry in cfg.datasets.items():
            if entry.build_info.anno_dir:
                _dataset(section, name, cfg)
        if not section.findings:
            section.ok("Every file that the config names exists, and none looks damaged.")


def _weight_paths(cfg: DictConfig) -> Iterator[tuple[str, Path]]:
    for key in WEIGHT_FILES:
        if cfg.model[key]:
            yield f"model.{key}", Path(weight_path(cfg.model[key]))
    if cfg.run.resume_ckpt_path:
        yield "run.resume_ckpt_path", Path(cfg.run.resume_ckpt_path)


def _look_at(section: ReportSection, key: str, path: Path, weights: bool = False) -> bool:
    """Report whether a file exists and what is wrong with it; returns whether it is usable."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "missing"
        section.say(f"{key}={path}: {what}")
        section.error(f"{key}={path} is {what}; {advice(path, key)}correct the path, or put the file there.")
        return False
    section.say(f"{key}={path}: found, {size_text(path.stat().st_size)}")
    problem = problem_of_file(path) or (problem_of_weights(path) if weights else None)
    if problem:
        section.error(f"{key}={path} {problem}")
    return problem is None


def problem_of_file(path: Path) -> str | None:
    """The problem that the first bytes of any file show: empty, a git-lfs pointer, a web page."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "is empty; download it again."
    if problem := pointer_problem(path):
        return f"{problem}."
    if _MARKUP.match(head):
        return "is a web page (HTML), not the file itself; download it again, logged in if necessary."
    return None


def problem_of_weights(path: Path) -> str | None:
    """The problem that the structure of a weight file shows: truncated, or no weights at all. Reads only headers."""
    with path.open("rb") as file:
        head = file.read(8)
    if path.suffix == ".safetensors":
        return _problem_of_safetensors(path)
    if head.startswith(b"PK"):
        cut = "is truncated: the table of contents at its end is missing; download it again."
        return None if zipfile.is_zipfile(path) else cut
    if not head.startswith(_PICKLE):
        return f"is not a weight file: it starts with {head!r}; is it the right file?"
    return None


def _problem_of_safetensors(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            return "is truncated, or not a safetensors file: its header is longer than the file; download it again."
        try:
            header = json.loads(file.read(length))
            data = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        except (ValueError, LookupError, TypeError, AttributeError):
            return "is damaged: its header cannot be read; download it again."
    expected = 8 + length + data
    if size < expected:
        return f"is truncated: it has {size_text(size)}, its header says {size_text(expected)}; download it again."
    return None


# LLaMA ----------------------------------------------------------------------------------------------------------------


def _llama_folder(section: ReportSection, folder: Path) -> None:
    if not folder.is_dir():
        section.say(f"model.llama_model={folder}: missing")
        fix = advice(folder, "model.llama_model")
        section.error(f"model.llama_model={folder} is not a folder; {fix}it must be a Hugging Face LLaMA folder.")
        return
    section.say(f"model.llama_model={folder}:")
    if _look_at(section, "LLaMA's config", folder / "config.json"):
        _read_json(section, folder / "config.json")
    if _look_at(section, "LLaMA's tokenizer", folder / "tokenizer.model"):
        try:
            load_tokenizer(folder)
        except TimeChatError as error:
            section.error(str(error))
    names = [name for name in LLAMA_WEIGHTS if (folder / name).is_file()]
    if not names:
        section.error(f"{folder} contains no weights: none of {', '.join(LLAMA_WEIGHTS)} exists.")
    elif names[0].endswith(".index.json"):
        _shards(section, folder, names[0])
    else:
        _look_at(section, "LLaMA's weights", folder / names[0], weights=True)


def _shards(section: ReportSection, folder: Path, index_name: str) -> None:
    index = _read_json(section, folder / index_name)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        section.error(f"{folder / index_name} lists no shards under weight_map; download it again.")
        return
    shards = sorted(set(weight_map.values()))
    section.say(f"{index_name}: {len(weight_map)} tensors in {len(shards)} shards")
    usable = [_look_at(section, "shard", folder / shard, weights=True) for shard in shards]
    promised = index.get("metadata", {}).get("total_size", 0)
    held = sum((folder / shard).stat().st_size for shard in shards if (folder / shard).is_file())
    if all(usable) and held < promised:
        section.error(
            f"{folder}: the shards have {size_text(held)}, less than the {size_text(promised)} that {index_name} "
            "says; some are truncated: download them again."
        )


def _read_json(section: ReportSection, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        section.error(f"{path} is not valid JSON ({error}); download it again.")
        return {}
    return content if isinstance(content, dict) else {}


# Vocabulary of the Q-Former -------------------------------------------------------------------------------------------


def _vocabulary(section: ReportSection, model: DictConfig) -> None:
    name = model.qformer_tokenizer
    path = find_vocabulary(name) or vocabulary_from_hub(name)
    if path is None:
        section.say(f"model.qformer_tokenizer={name}: no vocab.txt there, under ckpt/ or in the hub's cache")
        section.error(
            f"model.qformer_tokenizer={name}: no vocab.txt on this machine, and it cannot be downloaded from here; "
            f"with internet access: {vocabulary_command(name)}"
        )
        return
    if not _look_at(section, "vocabulary of model.qformer_tokenizer", path):
        return
    rows = sum(1 for _ in path.open("rb")) + 1  # the published code adds [DEC]
    section.say(f"{path.name}: {rows} ids with [DEC]; model.qformer.vocab_size={model.qformer.vocab_size}")
    if rows != model.qformer.vocab_size:
        section.warning(
            f"model.qformer_tokenizer={name} has {rows} ids, the Q-Former embeds {model.qformer.vocab_size} "
            "(model.qformer.vocab_size): this is probably not the vocabulary that the weights were trained with."
        )


# Data -----------------------------------------------------------------------------------------------------------------


def _dataset(section: ReportSection, name: str, cfg: DictConfig) -> None:
    """The annotation file, the folder of videos, and how many of the videos are in it."""
    info, where = cfg.datasets[name].build_info, f"datasets.{name}.build_info"
    builder: type[DatasetBuilder] = registry.get_builder_class(cfg.datasets[name].builder)
    if builder.in_folder:
        if not _annotations_and_folder(section, info, where):
            return
    elif missing := list(builder.missing_files(where, "", info)):
        section.error("; ".join(map(str, missing)))
        return
    try:
        found = look_for_videos(cfg, name)
    except TimeChatError as error:
        section.error(str(error))
        return
    lines = list(describe(found))
    for line in lines:
        section.say(line)
    if not found.samples_there:
        section.error(
            f"{where}: {found.videos_dir} contains none of the {sum(found.files.values()):,} videos, such as "
            f"{found.missing_paths[0]}; correct the path."
        )
    elif found.samples_there < found.samples:
        section.warning(f"{lines[0]}; run.missing_videos=drop trains without the others.")


def _annotations_and_folder(section: ReportSection, info: DictConfig, where: str) -> bool:
    """Whether the annotation file and the folder of videos can be used."""
    videos = Path(info.videos_dir)
    usable = _look_at(section, f"{where}.anno_dir", Path(info.anno_dir))
    section.say(f"{where}.videos_dir={videos}: {'found' if videos.is_dir() else 'missing'}")
    if not videos.is_dir():
        section.error(f"{where}.videos_dir={videos} is not a folder; correct the path ({VIDEOS}).")
    return usable and videos.is_dir()
