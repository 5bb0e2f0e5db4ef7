"""What is measured after each epoch: loss and exact answers on validation data, a benchmark; and which epoch was best.

The loss is the training loss without dropout, augmentation and random frames; every sample counts once, whatever the
number of processes. Every process runs the same number of batches, because some engines exchange weights in each; dummy
samples fill up the last ones and do not count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig

from timechat import distributed
from timechat.batch import Batch
from timechat.config import plain
from timechat.datasets import RankBatches, StreamDataset
from timechat.datasets.base import VideoDataset
from timechat.datasets.collate import Fetched
from timechat.datasets.sampler import EpochStream
from timechat.datasets.worker_signals import ignore_stop_signals
from timechat.errors import ConfigError, StoppedError, TimeChatError, TrainingError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.options import own_options
from timechat.evaluation.request import Evaluation
from timechat.evaluation.run import evaluate
from timechat.evaluation.scores import ordered_scores
from timechat.evaluation.video_models import VideoModel
from timechat.runners.checkpointing import Checkpoints
from timechat.runners.engines import Engine
from timechat.runners.guards import SkipList
from timechat.runners.loading import raise_together, read_batches
from timechat.runners.missing_videos import leave_out_missing
from timechat.runners.signals import StopTraining, stop_reason
from timechat.tasks import Task

logger = logging.getLogger(__name__)

LOSS, EXACT = "valid_loss", "valid_exact"
FOLDER = "validation"
_COUNT, _SKIPPED = "count", "skipped"


class Validation:
    """Scores after each epoch, and the best of them.

    Args:
        cfg: the whole config.
        task: says what the loss of a sample is, and reads the validation data.
        skip_list: files that must not be opened.

    Attributes:
        epoch: the last one that was measured, -1 for none; checkpoints keep it, as they do the best score.

    Raises:
        ConfigError, AnnotationError: scores that cannot be measured.
    """

    def __init__(self, cfg: DictConfig, task: Task, skip_list: SkipList):
        self.cfg, self.task, self.skip_list = cfg, task, skip_list
        self.datasets = task.build_validation_datasets(cfg) if cfg.run.valid_splits else []
        samples = sum(map(len, self.datasets))
        leave_out_missing(self.datasets, cfg.run.missing_videos, what="validation data")
        self.left_out = samples - sum(map(len, self.datasets))
        self.score = _chosen_score(cfg.run)
        self.epoch = -1
        self.best: dict[str, Any] | None = None  # score, value, epoch

    def __bool__(self) -> bool:
        """Whether anything is measured."""
        return self.score is not None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"epoch": self.epoch, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`; a best value of another score does not count."""
        self.epoch, best = state["epoch"], state["best"]
        self.best = best if best and best["score"] == self.score else None

    def run(self, engine: Engine, epoch: int, stopping: Callable[[], bool]) -> dict[str, float]:
        """Measure the model after an epoch; collective.

        Args:
            engine: with the model; it is left in evaluation mode.
            epoch: its number, from 0.
            stopping: whether this process was asked to stop.

        Returns:
            The scores, the same on every process: `valid_loss`, `valid_exact` (the share of samples whose answer is
            right token by token) if the model tells it, `valid_skipped`, those of the benchmark in percent, `seconds`.

        Raises:
            StopTraining: a process was asked to stop. TrainingError: validation data that cannot be read.
            WorkerError: a worker hung on a file or died.
        """
        started = time.perf_counter()
        engine.model.eval()
        scores: dict[str, float] = {}
        if self.datasets:
            scores |= self._loss(engine, stopping)
        if self.cfg.run.valid_benchmark.name:
            scores |= self._benchmark(engine, epoch, stopping)
        return scores | {"seconds": round(time.perf_counter() - started, 3)}

    def is_best(self, scores: dict[str, float], epoch: int) -> bool:
        """Record an epoch's scores; returns whether it is better than all before.

        Raises:
            TrainingError: the benchmark has no such score.
        """
        if self.score not in scores:
            raise TrainingError(f"run.best_score={self.score}: not measured; there are {', '.join(scores)}")
        value, self.epoch = scores[self.score], epoch
        sign = -1 if self.score == LOSS else 1
        if self.best and sign * value <= sign * self.best["value"]:
            return False
        self.best = {"score": self.score, "value": value, "epoch": epoch}
        return True

    def is_due(self, epoch: int, checkpoints: Checkpoints) -> bool:
        """Whether there is something to measure after an epoch, and it was not measured already; collective.

        A run that started from another run's checkpoint has no file of that epoch, which could become the best one.
        """
        if not self or self.epoch >= epoch:
            return False
        return distributed.on_main_process(lambda: checkpoints.epoch_file(epoch).exists())

    def is_enough(self) -> bool:
        """Whether the best score is as good as `run.stop_at_score` asks; never, if that is null."""
        wanted = self.cfg.run.stop_at_score
        if wanted is None or self.best is None:
            return False
        return self.best["value"] <= wanted if self.score == LOSS else self.best["value"] >= wanted

    def warn_unless_enough(self) -> None:
        """After the last epoch: say that `run.stop_at_score` was not reached."""
        if self.cfg.run.stop_at_score is not None and self.best and not self.is_enough():
            logger.warning(
                "run.stop_at_score=%s is not reached after run.max_epoch=%d epochs: the best %s is %.4g",
                self.cfg.run.stop_at_score, self.cfg.run.max_epoch, self.best["score"], self.best["value"],
            )  # fmt: skip

    @torch.no_grad()
    def _loss(self, engine: Engine, stopping: Callable[[], bool]) -> dict[str, float]:
        length = sum(map(len, self.datasets))
        sums: dict[str, float] = {}  # over the samples of this process
        for first, batch, usable, failure in self._batches(length):
            missing_here = 0 if failure else len(usable) - len(batch)
            counts = [float(missing_here), float(stopping()), float(failure is not None)]
            missing, stop, failures = distributed.all_reduce_sum(counts, engine.device)
            if stop:
                raise StopTraining(stop_reason())
            if failures:
                raise_together(failure)
            if missing:
                raise self._unusable(length)
            values = self.task.measure(engine.model, batch.to(engine.device))
            for name, total in _totals(values, usable[: max(0, length - first)]).items():
                sums[name] = sums.get(name, 0.0) + total
        means = dict(zip(sums, distributed.all_reduce_sum(list(sums.values()), engine.device), strict=True))
        count, skipped = means.pop(_COUNT), means.pop(_SKIPPED)
        if not count:
            raise self._unusable(length)
        scores = {f"valid_{name}": total / count for name, total in means.items()}
        return scores | {"valid_skipped": int(skipped) + self.left_out}

    def _unusable(self, length: int) -> TrainingError:
        return TrainingError(
            f"run.valid_splits={list(self.cfg.run.valid_splits)}: none of the {length} samples can be used; repair the "
            "files that datasets.*.build_info.valid_anno_dir names"
        )

    def _batches(self, length: int) -> Iterator[tuple[int, Any, list[bool], TimeChatError | None]]:
        """This process's batches, each with the position of its first sample and which of its samples are usable; last,
        the error that ended the reading, if there was one."""
        rank, world, size = distributed.rank(), distributed.world_size(), self.cfg.run.batch_size_eval
        batches = read_batches(
            StreamDataset(
                self.datasets, in_order(self.datasets), self.cfg.run.seed, epoch=0, skip=self.skip_list.files
            ),
            self.cfg.run.num_workers,
            self.cfg.run.data_timeout_s,
            batch_sampler=RankBatches(length, rank, world, size),
            collate_fn=partial(_with_usable, self.task.collate),
            worker_init_fn=ignore_stop_signals,
        )
        try:
            for number, (batch, usable) in enumerate(batches):
                yield (number * world + rank) * size, batch, usable, None
        except TimeChatError as failure:
            yield 0, None, [], failure

    def _benchmark(self, engine: Engine, epoch: int, stopping: Callable[[], bool]) -> dict[str, float]:
        asked = self.cfg.run.valid_benchmark
        request = Evaluation(
            benchmark=asked.name,
            anno_path=asked.anno_path,
            videos_dir=asked.videos_dir,
            output_dir=str(Path(self.cfg.run.output_dir) / FOLDER / f"epoch_{epoch}"),
            prompt_file=asked.prompt_file or None,
            max_new_tokens=asked.max_new_tokens,
            limit=asked.limit,
            benchmark_options=_benchmark_options(self.cfg.run),
            literature=False,
            overwrite=True,
        )
        # Processes have different numbers of questions, so they cannot agree after each of them.
        event = f"stop {request.output_dir}"
        try:
            record = evaluate(
                self.cfg,
                request,
                engine.device,
                cast(VideoModel, engine.unwrap()),
                lambda: distributed.anywhere(event, stopping()),
            )
        except StoppedError as error:
            raise StopTraining(stop_reason()) from error
        return distributed.on_main_process(lambda: ordered_scores(record or {}))


def _totals(values: dict[str, torch.Tensor], usable: Sequence[bool]) -> dict[str, float]:
    """Sums over the first samples of a batch that are usable, how many these are, and how many are not."""
    kept = torch.tensor(usable, dtype=torch.bool)
    totals = {name: float(value[: len(usable)].double().cpu()[kept].sum()) for name, value in values.items()}
    return totals | {_COUNT: float(kept.sum()), _SKIPPED: float((~kept).sum())}


def in_order(datasets: Sequence[VideoDataset]) -> EpochStream:
    """Every sample of every dataset once, in order."""
    sizes = [len(dataset) for dataset in datasets]
    numbers = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return EpochStream(numbers, np.concatenate([np.arange(size, dtype=np.int64) for size in sizes]))


def _with_usable(
    collate: Callable[[Sequence[Fetched[Any]]], Batch], fetched: Sequence[Fetched[Any]]
) -> tuple[Batch, list[bool]]:
    """A batch, and for each of its samples whether it is itself and not a replacement for an unreadable one."""
    for record in (record for f in fetched for record in f.skipped[:1]):
        logger.error("validation: skipped %s: %s", record["sample"], record["error"])
    return collate(fetched), [not f.skipped for f in fetched]


def _benchmark_options(run: DictConfig) -> dict[str, Any]:
    """The keys of `run.valid_benchmark` that are the benchmark's own."""
    asked = run.valid_benchmark
    return own_options(asked.name, plain(asked))


def _chosen_score(run: DictConfig) -> str | None:
    """The score that decides which epoch is the best; None: nothing is measured. Raises ConfigError."""
    known = [LOSS, EXACT] if run.valid_splits else []
    if run.valid_benchmark.name:
        known += get_benchmark(run.valid_benchmark.name, _benchmark_options(run)).main_scores
    if run.stop_at_score is not None and not known:
        raise ConfigError(
            f"run.stop_at_score={run.stop_at_score}: this run measures nothing; see run.valid_splits and "
            "run.valid_benchmark, or remove the key"
        )
    if run.best_score is None:
        return known[0] if known else None
    if run.best_score not in known:
        raise ConfigError(
            f"run.best_score={run.best_score}: this run measures {', '.join(known) or 'nothing'}; "
            "see run.valid_splits and run.valid_benchmark"
        )
    return run.best_score
