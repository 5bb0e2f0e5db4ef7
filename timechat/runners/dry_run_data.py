"""The data of a dry run: which files exist, and the first batch of those."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from timechat.batch import Batch
from timechat.config import merged_configs, without
from timechat.datasets import StreamDataset, stream_of
from timechat.datasets.builders import DatasetBuilder
from timechat.datasets.presence import Presence
from timechat.registry import registry
from timechat.runners.missing_files import missing_of_dataset
from timechat.runners.missing_videos import DROP, describe
from timechat.runners.plan import TrainingPlan
from timechat.tasks import Task

MOST_TRIED = 20  # files that are opened to find a readable one


class Data:
    """The datasets of a config whose annotations and folders are there.

    Args:
        cfg: the whole config.
        task: builds the datasets, and packs samples.

    Attributes:
        found: which files of each exist; `valid`: those of validation data.
        samples: how many samples training would have.
        complete: whether the annotations of all datasets are there.

    Raises:
        ConfigError, AnnotationError: as when datasets are built.
    """

    def __init__(self, cfg: DictConfig, task: Task):
        self.cfg, self.task = cfg, task
        there = {name: entry for name, entry in cfg.datasets.items() if not _unreadable(entry)}
        self.complete = bool(there) and len(there) == len(cfg.datasets)
        whole = merged_configs(without(cfg, "datasets"), {"datasets": there})
        self.datasets = task.build_datasets(whole) if there else []
        self.found: list[Presence] = [dataset.presence() for dataset in self.datasets]
        self.valid: list[Presence] = []
        lacking = any(any(missing_of_dataset(cfg, name)) for name in cfg.datasets)
        if cfg.run.valid_splits and self.complete and not lacking:
            self.valid = [dataset.presence() for dataset in task.build_validation_datasets(whole)]
        drops = cfg.run.missing_videos == DROP
        self.samples = sum(presence.samples_there if drops else presence.samples for presence in self.found)

    def describe(self) -> Iterator[str]:
        """How many files each dataset has."""
        names = {presence.dataset: presence for presence in self.found}
        for name in self.cfg.datasets:
            absent = f"datasets.{name}: no file was looked for, because its annotations or its folder are missing"
            yield str(names[name]) if name in names else absent
        yield from (f"validation data: {presence}" for presence in self.valid)

    def missing_videos(self) -> Iterator[str]:
        """The sources that lack files, and where these come from."""
        for presence in (*self.found, *self.valid):
            if presence.samples_there < presence.samples:
                yield from describe(presence)

    def nothing_to_read(self) -> bool:
        """Whether there is a dataset of which no file exists, or no dataset at all."""
        empty = any(not presence.samples_there for presence in self.found)
        return empty or len(self.found) < len(self.cfg.datasets) or not self.found

    def first_batch(self, plan: TrainingPlan | None, readable: bool) -> Iterator[str]:
        """The first micro-batch of the main process, of the files that exist.

        Args:
            plan: of the run.
            readable: whether there are tokenizers.
        """
        for dataset, presence in zip(self.datasets, self.found, strict=True):
            dataset.leave_out(set(presence.missing_paths))
        datasets = [dataset for dataset in self.datasets if len(dataset)]
        ratios = [self.cfg.datasets[dataset.name].sample_ratio for dataset in datasets]
        if not datasets or not any(ratios):
            yield "no batch was read: no dataset has its files"
        elif not readable:
            yield "no batch was read: it needs the tokenizers"
        else:
            draws = plan.draws if plan else None
            stream = stream_of(datasets, ratios, self.cfg.run.seed).epoch(0, draws)
            samples = StreamDataset(datasets, stream, self.cfg.run.seed, 0, most_tried=MOST_TRIED)
            size = min(self.cfg.run.batch_size_train, len(samples))
            yield from _describe(self.task.collate([samples[position] for position in range(size)]))


def _unreadable(entry: DictConfig) -> bool:
    """Whether the annotation file or the folder of videos is missing."""
    builder: type[DatasetBuilder] = registry.get_builder_class(entry.builder)
    return bool(entry.build_info.anno_dir) and any(builder.missing_files("", "", entry.build_info))


def _describe(batch: Batch) -> Iterator[str]:
    for record in batch.skipped:
        yield f"skipped {record['sample']}: {record['error']}"
    for key, frames in zip(batch.keys, batch.frame_counts, strict=True):
        yield f"read {key}: {frames} frames"
    if len(batch):
        yield f"first micro-batch: {batch.describe()}"
