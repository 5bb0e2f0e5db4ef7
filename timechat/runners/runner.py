"""The training loop: epochs, updates, logging and checkpoints. What a step is, the task says; how processes work
together, the engine.

Randomness is keyed, never carried over: a sample's on (seed, epoch, position), dropout's on (seed, update, rank). So a
run that resumes after an epoch goes on exactly as if it had never stopped.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from timechat import distributed
from timechat.batch import VideoBatch
from timechat.datasets import RankBatches, SampleStream, StreamDataset
from timechat.datasets.instruction import InstructionDataset
from timechat.errors import CheckpointError, ConfigError, TimeChatError, TrainingError
from timechat.models.checkpoints import load_weights, save_file, trainable_state_dict
from timechat.models.weight_files import read_file, state_dict_of
from timechat.registry import registry
from timechat.runners.engines import build_engine, resolve_precision
from timechat.runners.guards import SkipGuard
from timechat.runners.logs import Meter, RunLog
from timechat.runners.optimizers import build_optimizer
from timechat.runners.plan import make_plan
from timechat.tasks import Task

logger = logging.getLogger(__name__)


def _without_traceback(error: TimeChatError) -> TimeChatError:
    """DataLoader puts the traceback of a worker's error into its message; users need the words behind it alone."""
    kind = type(error)
    return kind(str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].rstrip())


@registry.register_runner("runner_base")
class Runner:
    """Trains a model on datasets as a config says.

    Args:
        cfg: the whole config.
        task: says what a step is, and builds the model.
        datasets: in the config's order.
        device: of this process.

    Raises:
        ConfigError: settings that cannot go together; all are checked before the model's weights are loaded.
    """

    def __init__(
        self,
        cfg: DictConfig,
        task: Task,
        datasets: list[InstructionDataset],
        device: torch.device,
    ):
        if cfg.run.evaluate:
            raise ConfigError("run.evaluate=true: train.py trains; to evaluate, start evaluate.py or eval.sh")
        self.cfg, self.task, self.datasets = cfg, task, datasets
        self.plan = make_plan(cfg.run, distributed.world_size(), sum(map(len, datasets)))
        ratios = [cfg.datasets[dataset.name].sample_ratio for dataset in datasets]
        self.stream = SampleStream([len(dataset) for dataset in datasets], ratios, cfg.run.seed)
        precision = resolve_precision(cfg.run.precision, cfg.run.amp, device)
        self.output_dir = Path(cfg.run.output_dir)
        self._check_output_dir()
        self.log = RunLog(self.output_dir)
        # Weights that no file gives are the same in every run, whatever was drawn before.
        torch.manual_seed(cfg.run.seed)
        model = task.build_model(cfg, datasets)
        optimizer, self.optimized = build_optimizer(
            model, lr=cfg.run.init_lr, weight_decay=cfg.run.weight_decay, beta2=cfg.run.beta2
        )
        self.engine = build_engine("ddp", device, precision)
        self.engine.prepare(model, optimizer)
        self.start_epoch = self._resume() if cfg.run.resume_ckpt_path else 0
        self.meter = Meter()
        self.guard = SkipGuard(cfg.run.max_skip_ratio)

    def _check_output_dir(self) -> None:
        """Two runs in one folder would overwrite some of each other's checkpoints and keep others."""
        earlier = sorted((path.name for path in self.output_dir.glob("checkpoint_*.pth")), key=lambda n: (len(n), n))
        if earlier and not self.cfg.run.resume_ckpt_path:
            raise ConfigError(
                f"run.output_dir={self.output_dir} holds {earlier[-1]} of an earlier run: give another folder, or go "
                f"on with run.resume_ckpt_path={self.output_dir / earlier[-1]}"
            )

    def train(self) -> None:
        """Run all epochs that are left. Raises TrainingError when going on would be wrong."""
        plan = self.plan
        logger.info(
            "%d epochs of %d updates, %d samples each (%d processes x %d micro-batches x %d samples)",
            plan.max_epoch, plan.updates_per_epoch, plan.global_batch,
            distributed.world_size(), plan.accumulation, plan.micro_batch,
        )  # fmt: skip
        if self.start_epoch >= plan.max_epoch:
            logger.warning("nothing is left to train: run.max_epoch=%d epochs are done", plan.max_epoch)
        self.log.event(event="start", epoch=self.start_epoch, config=OmegaConf.to_container(self.cfg))
        try:
            for epoch in range(self.start_epoch, plan.max_epoch):
                self.train_epoch(epoch)
                self.save_checkpoint(epoch)
                distributed.barrier()
        finally:
            self.log.close()

    def train_epoch(self, epoch: int) -> None:
        """Run the updates of one epoch."""
        self.engine.model.train()
        self.log.progress(epoch, self.plan.updates_per_epoch)
        self.meter.reset()
        updates = self._updates(epoch)
        for update in itertools.count():
            waiting = time.perf_counter()
            batches = next(updates, None)
            self.meter.waiting += time.perf_counter() - waiting
            if batches is None:
                break
            self.check_samples(batches)
            learning_rate = self.plan.learning_rate(epoch, update)
            self.update(batches, learning_rate, epoch * self.plan.updates_per_epoch + update)
            last = update + 1 == self.plan.updates_per_epoch
            if last or (update + 1) % self.cfg.run.log_freq == 0:
                self.report(epoch, update, learning_rate)

    def _updates(self, epoch: int) -> Iterator[list[VideoBatch]]:
        """The micro-batches of each update of an epoch, on this process."""
        run = self.cfg.run
        stream = self.stream.epoch(epoch, self.plan.draws)
        # Whole updates: the last one of a pass begins the epoch anew, alike on any number of processes.
        length = self.plan.updates_per_epoch * self.plan.global_batch
        loader = DataLoader(
            StreamDataset(self.datasets, stream, run.seed, epoch),
            batch_sampler=RankBatches(length, distributed.rank(), distributed.world_size(), self.plan.micro_batch),
            num_workers=run.num_workers,
            collate_fn=self.task.collate,
            pin_memory=self.engine.device.type == "cuda",
            # Its own generator: making an iterator draws a seed, and the global generator is not ours to advance.
            generator=torch.Generator(),
        )
        batches = iter(loader)
        try:
            while group := list(itertools.islice(batches, self.plan.accumulation)):
                yield group
        except TimeChatError as error:
            raise _without_traceback(error) from error

    def check_samples(self, batches: list[VideoBatch]) -> None:
        """Count the samples that were skipped, on all processes together; raises TrainingError on all or none."""
        records = [record for batch in batches for record in batch.skipped]
        read = sum(map(len, batches))
        missing = len(batches) * self.plan.micro_batch - read
        counts = distributed.all_reduce_sum([read, len(records), missing], self.engine.device)
        read, skipped, missing = map(int, counts)
        if skipped:
            gathered = distributed.gather_objects(records)
            self.log.skipped([record for part in gathered or [] for record in part])
        self.guard.update(read + skipped, skipped, missing)

    def update(self, batches: list[VideoBatch], learning_rate: float, number: int) -> None:
        """One optimizer step on the micro-batches of this process."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._seed_dropout(number)
        total = torch.zeros((), device=self.engine.device)
        for i, batch in enumerate(batches):
            with self.engine.accumulate(last=i + 1 == len(batches)):
                # Divided by the number of micro-batches, which the published code leaves out.
                loss = self.task.train_step(self.engine.model, batch.to(self.engine.device)) / len(batches)
                self.engine.backward(loss)
            total += loss.detach()
        if self.cfg.run.clip_grad_norm:
            self.engine.clip(self.cfg.run.clip_grad_norm)
        self.engine.step()
        self._measure(batches, float(total))

    def _seed_dropout(self, number: int) -> None:
        key = np.random.SeedSequence([self.cfg.run.seed, number, distributed.rank()])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))

    def _measure(self, batches: list[VideoBatch], loss: float) -> None:
        self.meter.loss += loss
        self.meter.updates += 1
        self.meter.videos += sum(map(len, batches))
        self.meter.tokens += sum(batch.num_tokens for batch in batches)
        self.log.advance(loss)

    def report(self, epoch: int, update: int, learning_rate: float) -> None:
        """Log the stretch since the last report. Raises TrainingError, on all processes, if the loss is no number."""
        averages = self.meter.reduce(self.engine.device)
        number = epoch * self.plan.updates_per_epoch + update + 1
        if not math.isfinite(averages["loss"]):
            raise TrainingError(
                f"the loss is {averages['loss']} at update {number}; nothing was saved since the last epoch. "
                "Lower run.init_lr, set run.clip_grad_norm, or use run.precision=fp32"
            )
        self.log.step(
            {"epoch": epoch, "update": number, "lr": learning_rate, "skipped": self.guard.total_skipped, **averages}
        )
        self.meter.reset()

    def save_checkpoint(self, epoch: int) -> None:
        """Write checkpoint_{epoch}.pth in the published format, from the main process."""
        if not distributed.is_main_process():
            return
        path = self.output_dir / f"checkpoint_{epoch}.pth"
        content = {
            "model": trainable_state_dict(self.engine.unwrap()),
            **self.engine.state_dict(),
            "optimized": self.optimized,
            "epoch": epoch,
            "config": OmegaConf.to_container(self.cfg),
        }
        try:
            save_file(content, path)
        except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError when the disk is full
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{path}: cannot be written ({reason}); is the disk full or read-only?") from error
        self.log.event(event="checkpoint", epoch=epoch, path=path.name)
        logger.info("saved %s", path)

    def _resume(self) -> int:
        """Load `run.resume_ckpt_path`; returns the epoch to go on with. Raises CheckpointError."""
        path = self.cfg.run.resume_ckpt_path
        source = f"run.resume_ckpt_path={path}"
        content = read_file(path, "run.resume_ckpt_path")
        load_weights(self.engine.unwrap(), state_dict_of(content, source), source)
        if not isinstance(content.get("epoch"), int):
            raise CheckpointError(f"{source}: has no epoch; to start from its weights alone, name it in model.ckpt")
        if content.get("optimized") != self.optimized:
            logger.warning(
                "%s: its optimizer state is not for these parameters (published checkpoints do not name them): "
                "the weights are loaded, the optimizer starts anew", source
            )  # fmt: skip
        else:
            self.engine.load_state_dict(content)
            self._keep_settings()
        return content["epoch"] + 1

    def _keep_settings(self) -> None:
        """A loaded optimizer brings the settings of its run; those of this config count."""
        run = self.cfg.run
        for group, weight_decay in zip(self.engine.optimizer.param_groups, (run.weight_decay, 0.0), strict=True):
            group["weight_decay"] = weight_decay
            group["betas"] = (group["betas"][0], run.beta2)
