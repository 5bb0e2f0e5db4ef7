"""Everything that a run needs and this machine lacks, in one list, before anything slow begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from timechat.datasets.builders import DatasetBuilder
from timechat.datasets.presence import Presence
from timechat.errors import TimeChatError
from timechat.models.required_files import missing_model_files
from timechat.registry import registry
from timechat.runners.missing_videos import ERROR, describe
from timechat.sources import Missing, missing_path, raise_missing


def must_have_files(cfg: DictConfig) -> None:
    """Raise MissingFilesError, listing all, if weights, tokenizers, annotations or folders are missing.

    If so, the videos of the annotations that are there are looked for as well; otherwise the run does that itself.
    """
    missing = list(missing_files(cfg))
    if missing:
        raise_missing(missing, _lacking_videos(cfg))


def missing_files(cfg: DictConfig, *, download: bool = True) -> Iterator[Missing]:
    """What is missing of the files and folders that a config names, without the videos.

    Args:
        cfg: the whole config.
        download: as for `missing_model_files`.
    """
    yield from missing_model_files(cfg.model, download=download)
    for name in cfg.datasets:
        yield from missing_of_dataset(cfg, name)
    benchmark = cfg.run.valid_benchmark
    if benchmark.name:
        for key in ("anno_path", "videos_dir"):
            if benchmark[key] and not Path(benchmark[key]).exists():
                yield missing_path(f"run.valid_benchmark.{key}", benchmark[key], "no such file or folder")
    for key in ("resume", "resume_ckpt_path", "deepspeed_config"):  # the last one only with DeepSpeed
        path = cfg.run.get(key)
        if path not in (None, "", "auto", "never") and not Path(path).exists():
            yield Missing(f"run.{key}={path}", "no such file")


def missing_of_dataset(cfg: DictConfig, name: str) -> Iterator[Missing]:
    """What is missing of a dataset's annotations and folders, those for validation only if there is validation."""
    info, where = cfg.datasets[name].build_info, f"datasets.{name}.build_info"
    builder: type[DatasetBuilder] = registry.get_builder_class(cfg.datasets[name].builder)
    for kind in ("", "valid_") if cfg.run.valid_splits else ("",):
        if info[f"{kind}anno_dir"]:
            yield from builder.missing_files(where, kind, info)


def _lacking_videos(cfg: DictConfig) -> Iterator[str]:
    """Lines about the videos of the datasets that can be looked for, if missing ones keep the run from starting."""
    for name in cfg.datasets:
        info = cfg.datasets[name].build_info
        if info.anno_dir and not any(missing_of_dataset(cfg, name)):
            try:
                found = look_for_videos(cfg, name)
            except TimeChatError as error:
                yield str(error)
                continue
            if not found.samples_there or (cfg.run.missing_videos == ERROR and found.samples_there < found.samples):
                yield from describe(found)


def look_for_videos(cfg: DictConfig, name: str) -> Presence:
    """Which videos of a dataset exist, whether or not there are tokenizers. Raises AnnotationError, ConfigError."""
    entry = cfg.datasets[name]
    builder: DatasetBuilder = registry.get_builder_class(entry.builder)(name, entry, cfg.model)
    return builder.presence()
