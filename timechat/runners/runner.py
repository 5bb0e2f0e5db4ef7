"""The training loop: epochs, optimizer steps, when to report and to save. The task says what a training step is, the
engine how processes work together.

Randomness is keyed, never carried over: a sample's on (seed, epoch, position), dropout's on (seed, step, rank). So a
run that resumes after any step continues exactly as if it had never stopped. No generator lives longer than a step, so
no generator's state has to be saved.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from omegaconf import DictConfig

from timechat import distributed
from timechat.batch import Batch
from timechat.config import plain
from timechat.datasets import RankBatches, StreamDataset, stream_of
from timechat.datasets.base import VideoDataset
from timechat.datasets.worker_signals import ignore_stop_signals
from timechat.device import resolve_precision
from timechat.errors import ConfigError, TimeChatError, TrainingError, WorkerError
from timechat.locks import FolderLock
from timechat.models import BaseModel
from timechat.models.checkpoints import load_weights
from timechat.models.compiling import compile_layers
from timechat.models.liger import check_liger
from timechat.models.llama import leave_casts_to_autocast
from timechat.models.weight_files import state_dict_of
from timechat.registry import registry
from timechat.runners.checkpointing import Checkpoints
from timechat.runners.config import RunnerConfig
from timechat.runners.engines import StepCheck, build_engine
from timechat.runners.guards import NonFiniteGuard, SkipGuard, SkipList
from timechat.runners.loading import group_by_step, raise_together, read_batches
from timechat.runners.logs import Meter, RunLog
from timechat.runners.manifests import MANIFESTS, digests_of, facts_of, must_leave_out_the_same
from timechat.runners.missing_videos import MISSING, leave_out_missing
from timechat.runners.optimizers import build_optimizer
from timechat.runners.plan import make_plan
from timechat.runners.prefetching import build_fetcher
from timechat.runners.resume import ResumePoint, find_resume_point
from timechat.runners.run_info import record_start
from timechat.runners.saving import Saver
from timechat.runners.signals import StopTraining, start_command, stop_reason, stop_signals
from timechat.runners.state import RunState, Stateful
from timechat.runners.validation import Validation
from timechat.tasks import Task

logger = logging.getLogger(__name__)


@registry.register_runner("runner_base", config=RunnerConfig)
class Runner:
    """Trains a model on datasets as a config says.

    Args:
        cfg: the whole config.
        task: says what a training step is, and builds the model.
        datasets: in the config's order.
        device: of this process.

    Raises:
        ConfigError: settings that contradict each other; all are checked before the model's weights are loaded.
        StopTraining: a signal came while they were loaded.
    """

    def __init__(
        self,
        cfg: DictConfig,
        task: Task,
        datasets: list[VideoDataset],
        device: torch.device,
    ):
        if cfg.run.evaluate:
            raise ConfigError("run.evaluate=true: train.py only trains; to evaluate, start evaluate.py or eval.sh")
        self.cfg, self.task, self.datasets = cfg, task, datasets
        self.output_dir = Path(cfg.run.output_dir)
        self.lock = FolderLock(self.output_dir, f"run.output_dir={self.output_dir}", "is training in it")
        distributed.on_main_process(self.lock.acquire)
        try:
            self._build(device)
        except BaseException:
            self.lock.release()
            raise

    def _build(self, device: torch.device) -> None:
        """Everything that a run needs; slow things last."""
        cfg, task, datasets = self.cfg, self.task, self.datasets
        if cfg.run.liger:
            check_liger(device)
        self.checkpoints = Checkpoints(self.output_dir, cfg.run.keep_checkpoints)
        point = find_resume_point(cfg, self.checkpoints)
        kept = point.global_batch if point else None
        must_leave_out_the_same(datasets, point)
        self.sizes = [len(dataset) for dataset in datasets]
        self.stock = leave_out_missing(datasets, cfg.run.missing_videos, point)
        self.plan = make_plan(cfg.run, distributed.world_size(), sum(map(len, datasets)), kept)
        ratios = [cfg.datasets[dataset.name].sample_ratio for dataset in datasets]
        self.stream = stream_of(datasets, ratios, cfg.run.seed)
        precision = resolve_precision(cfg.run.precision, cfg.run.amp, device)
        self.steps = point.steps_done(self.plan, self.sizes) if point else 0  # finished, over all epochs
        self.checkpoints.must_not_be_beyond(self.steps)
        self.saver = Saver(self.checkpoints)
        self.skip_list = SkipList()
        self.validation = Validation(cfg, task, self.skip_list)
        self.log = RunLog(self.output_dir, self.steps, cfg.run.loggers)
        self.engine = build_engine(cfg.run, self.plan, device, precision)
        model = self._load_model(point)
        optimizer, optimized = build_optimizer(
            model, lr=cfg.run.init_lr, weight_decay=cfg.run.weight_decay, beta2=cfg.run.beta2, device=device
        )
        self.count_flops = model.flop_counter()
        if precision != "fp32":
            leave_casts_to_autocast(model)
        if cfg.run.liger:
            model.use_liger()
        self.graphs = compile_layers(model) if cfg.run.compile else None
        self.meter = Meter()
        self.guard = SkipGuard(cfg.run.max_skip_ratio)
        self.nonfinite = NonFiniteGuard(cfg.run.max_nonfinite)
        data = {"sizes": self.sizes, MISSING: self.stock.left_out, MANIFESTS: digests_of(datasets)}
        self.state = RunState(cfg, self.plan, optimized, self.engine, self.meter, data, self.stateful(), optimizer)
        self.engine.prepare(model, optimizer)
        if point:
            self._restore(point)

    def stateful(self) -> dict[str, Stateful]:
        """What a resumed run goes on with, besides weights, optimizer and position, by its name in checkpoints.

        A subclass adds its own to those of `super().stateful()`. It is asked once, before a checkpoint is restored.
        """
        return {
            "skip_guard": self.guard,
            "nonfinite_guard": self.nonfinite,
            "skip_list": self.skip_list,
            "validation": self.validation,
        }

    def _load_model(self, point: ResumePoint | None) -> BaseModel:
        """The model with its weights. Nothing is lost if that is given up. Raises StopTraining, on all processes."""

        def load() -> BaseModel:
            # Weights that no file provides are the same in every run, whatever random numbers were drawn before.
            torch.manual_seed(self.cfg.run.seed)
            model = self.task.build_model(self.cfg)
            if point:
                load_weights(model, state_dict_of(point.content, point.source), point.source)
            return model

        model = stop_signals.at_once(load)
        stopped = distributed.all_reduce_sum([stop_signals.received], self.engine.device) != [0.0]
        if model is None or stopped:
            raise StopTraining(f"{stop_reason()} while the weights were loaded")
        return model

    def train(self) -> None:
        """Run the remaining epochs. Raises TrainingError if training must not continue."""
        plan = self.plan
        logger.info(
            "%d epochs of %d optimizer steps, %d samples each (%d processes x %d micro-batches x %d samples)",
            plan.max_epoch, plan.steps_per_epoch, plan.global_batch,
            distributed.world_size(), plan.accumulation, plan.micro_batch,
        )  # fmt: skip
        if self.cfg.model.video_timeout_s is None and not self.cfg.run.num_workers:
            logger.warning(
                "run.num_workers=0 and model.video_timeout_s=null: the training process reads the files itself; a file "
                "that hangs it goes unnoticed"
            )
        first = self.steps // plan.steps_per_epoch
        if first >= plan.max_epoch:
            logger.warning("nothing is left to train: run.max_epoch=%d epochs are done", plan.max_epoch)
        try:
            with stop_signals:
                self._write_start(first)
                self._train(first)
        finally:
            self.saver.close()
            self.log.close()
            self.lock.release()

    def _train(self, first: int) -> None:
        """The remaining epochs; whatever ends them early, saves first, unless it spoilt the weights."""
        plan, self.saver.time = self.plan, time.monotonic()
        try:
            if not self.steps % plan.steps_per_epoch:
                self.validate(first - 1)  # the run may have stopped before it finished validating
            for epoch in range(first, plan.max_epoch):
                if self.validation.is_enough():
                    break
                self.train_epoch(epoch)
                self.save()
                self.validate(epoch)
            self.saver.wait()
            self._stop_if_unwritten()
            epoch = self.steps // plan.steps_per_epoch - 1  # the last one
            self.log.event(event="end", epoch=epoch, step=self.steps, best=self.validation.best)
            self.validation.warn_unless_enough()
        except StopTraining as stop:
            self._stop(stop)
        except WorkerError as error:
            if error.files:
                self.skip_list.add(error.files)
                self.saver.newest = None  # an existing checkpoint of this step does not list them yet
            self._stop(StopTraining(f"{error}: stopped", failed=True))

    def _write_start(self, epoch: int) -> None:
        config = plain(self.cfg)
        self.log.event(event="start", epoch=epoch, step=self.steps, config=config)

        def record() -> str:
            try:
                return record_start(
                    self.output_dir,
                    self.cfg,
                    engine=self.engine.name,
                    step=self.steps,
                    videos=self.stock.facts,
                    manifests=facts_of(self.datasets),
                )
            except OSError as error:
                raise TrainingError(f"{self.output_dir}: cannot be written to ({error}); is the disk full?") from error

        run_id = distributed.on_main_process(record)
        if distributed.is_main_process():
            self.log.start(run_id, config, self.engine.device)

    def _stop_if_unwritten(self) -> None:
        """Raises StopTraining, on all processes, if the log could not be written."""
        if failure := distributed.on_main_process(lambda: self.log.failure):
            raise StopTraining(failure, failed=True)

    def validate(self, epoch: int) -> None:
        """Validate after an epoch, unless that is done already, and keep the best checkpoint. Raises StopTraining.

        It comes after saving: a run that is killed meanwhile loses only the scores, which the resumed run measures
        again.
        """
        if self.validation:
            self.saver.wait()  # the epoch's file says that there is something to measure, and may become the best
        if self.validation.is_due(epoch, self.checkpoints):
            scores = self.validation.run(self.engine, epoch, lambda: stop_signals.received)
            best = self.validation.is_best(scores, epoch)
            self.log.scores({"epoch": epoch, "step": self.steps, **scores, "best": best})
            if best:
                distributed.on_main_process(lambda: self.checkpoints.name_best(epoch))

    def _stop(self, stop: StopTraining) -> None:
        """Save, and say how to resume. Raises TrainingError if the run has failed, or nothing can be saved."""
        self.log.event(event="stop", step=self.steps, reason=str(stop))
        auto = "" if self.cfg.run.resume == "auto" or self.cfg.run.resume_ckpt_path else " and run.resume=auto"
        if self.steps or self.skip_list.files:
            try:
                self.save()
                self.saver.wait()
                saved = f"saved {self.checkpoints.folder_of(self.steps)}"
            except TrainingError as error:
                raise TrainingError(f"{stop} after step {self.steps}; then nothing could be saved: {error}") from error
        else:
            saved, auto = "there is nothing to save yet", ""
        message = f"{stop} after step {self.steps}; {saved}; resume with the same command{auto}: {start_command()}"
        if stop.failed:
            raise TrainingError(message)
        logger.warning("%s", message)

    def train_epoch(self, epoch: int) -> None:
        """Run the remaining optimizer steps of an epoch. Raises StopTraining."""
        plan, run = self.plan, self.cfg.run
        first = self.steps % plan.steps_per_epoch
        self.engine.model.train()
        self.log.progress(epoch, plan.steps_per_epoch, first)
        if not first:
            self.meter.reset()
        fetcher = build_fetcher(self._step_batches(epoch, first), self.engine.device, self.meter)
        for step in range(first, plan.steps_per_epoch):
            batches, failure = fetcher.fetch()
            self.check_samples(batches, failure)
            learning_rate = plan.learning_rate(epoch, step)
            self.step(batches, learning_rate, self.steps, fetcher.moved(batches))
            self.steps += 1
            last = step + 1 == plan.steps_per_epoch
            if last or (step + 1) % run.log_freq == 0:
                self.report(epoch, step, learning_rate)
            if run.save_every_steps and self.steps % run.save_every_steps == 0 and not last:
                self.save()

    def _step_batches(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """This process's micro-batches of each step of an epoch, beginning with step `first`."""
        run = self.cfg.run
        stream = self.stream.epoch(epoch, self.plan.draws)
        rank, world, start = distributed.rank(), distributed.world_size(), first * self.plan.accumulation
        batches = read_batches(
            StreamDataset(
                self.datasets,
                stream,
                run.seed,
                epoch,
                skip=self.skip_list.files,
                most_tried=self.guard.most_tried(self.plan.global_batch),
            ),
            run.num_workers,
            run.data_timeout_s,
            batch_sampler=RankBatches(len(stream), rank, world, self.plan.micro_batch, start),
            collate_fn=self.task.collate,
            worker_init_fn=ignore_stop_signals,
            pin_memory=self.engine.device.type == "cuda",
        )
        return group_by_step(batches, self.plan.accumulation)

    def check_samples(self, batches: list[Batch], failure: TimeChatError | None = None) -> None:
        """Before each step all processes agree on whether to stop and on which samples were skipped.

        Args:
            batches: of this process.
            failure: why this process has none.

        Raises:
            StopTraining, TimeChatError: on all processes or on none.
        """
        records = [record for batch in batches for record in batch.skipped]
        seen = {
            "read": sum(batch.num_counted for batch in batches),
            "skipped": len(records),
            "empty": sum(not len(batch) for batch in batches),
            "signals": stop_signals.received,
            "failures": failure is not None,
            "unwritten": self.log.failure is not None,
            "unsaved": self.saver.failed,
            "due": self.saver.is_due(self.steps, self.cfg.run.save_every_minutes),
        }
        counts = distributed.all_reduce_sum([float(count) for count in seen.values()], self.engine.device)
        read, skipped, empty, signals, failures, unwritten, unsaved, due = map(int, counts)
        if signals:  # the resumed run fetches these batches again, and counts them
            raise StopTraining(stop_reason())
        if unwritten:
            self._stop_if_unwritten()
        if unsaved:
            self.saver.wait()  # raises what kept the checkpoint from being written
        if failures:
            self._raise_after_saving(failure)
        if due:
            self.save()  # before these batches count
        if skipped:
            gathered = distributed.gather_objects(records) or []
            self.log.skipped([{"step": self.steps + 1, **record} for part in gathered for record in part])
        missing = self.plan.samples_of(self.steps % self.plan.steps_per_epoch) - read
        try:
            self.guard.update(read + skipped, skipped, missing + empty)
        except TrainingError as error:
            raise StopTraining(f"{error}: stopped", failed=True) from error

    def _raise_after_saving(self, failure: TimeChatError | None) -> NoReturn:
        """Raise what `raise_together` raises; collective."""
        try:
            raise_together(failure)
        except WorkerError:
            raise
        except TimeChatError:
            if self.steps:
                self.save()
                self.saver.wait()
            raise

    def step(
        self, batches: list[Batch], learning_rate: float, number: int, moved: Iterable[Batch] | None = None
    ) -> None:
        """One optimizer step on the micro-batches of this process; `moved` are the same, on the device once asked."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._seed_dropout(number)
        total = torch.zeros((), device=self.engine.device)
        # Losses weighted like this, averaged over processes, are the mean over the samples of the step.
        share = distributed.world_size() / self.plan.samples_of(number % self.plan.steps_per_epoch)
        for i, batch in enumerate(batches if moved is None else moved):
            with self.engine.accumulate(last=i + 1 == len(batches)):
                loss = self.task.train_step(self.engine.model, batch.to(self.engine.device))
                loss = loss * (batch.num_counted * share)
                self.engine.backward(loss)
            total += loss.detach()
        checked = self.engine.check(total)
        if checked.finite:
            if self.cfg.run.clip_grad_norm:
                self.engine.clip(self.cfg.run.clip_grad_norm)
            self.engine.step()
            self._measure(batches, checked)
            self.nonfinite.update(True, number + 1)
        else:
            self.engine.skip()
            self._leave_out(batches, number + 1)

    def _leave_out(self, batches: list[Batch], number: int) -> None:
        """Record a skipped step. Raises TrainingError, on all processes, after too many in a row."""
        gathered = distributed.gather_objects([key for batch in batches for key in batch.keys])
        samples = [key for keys in gathered or [] for key in keys]
        self.log.event(event="nonfinite", step=number, samples=samples)
        logger.warning("step %d is skipped: its loss or a gradient is NaN or infinite (%s)", number, ", ".join(samples))
        try:
            self.nonfinite.update(False, number, samples)
        except TrainingError as error:
            self.saver.wait()
            way_back = distributed.on_main_process(lambda: self.checkpoints.way_back(number - self.nonfinite.in_a_row))
            raise TrainingError(f"{error}. {way_back}") from error

    def _seed_dropout(self, number: int) -> None:
        key = np.random.SeedSequence([self.cfg.run.seed, number, distributed.rank()])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))

    def _measure(self, batches: list[Batch], checked: StepCheck) -> None:
        self.meter.loss += checked.loss
        self.meter.grad_norm += checked.norm
        self.meter.steps += 1
        self.meter.videos += sum(batch.num_counted for batch in batches)
        self.meter.tokens += sum(batch.num_tokens for batch in batches)
        if self.count_flops:
            self.meter.flops += sum(map(self.count_flops, batches))
        self.log.advance(checked.loss)

    def report(self, epoch: int, step: int, learning_rate: float) -> None:
        """Log the interval since the last report, unless all of its steps were skipped."""
        if not self.meter.steps:
            return
        averages = self.meter.reduce(self.engine.device)
        number = epoch * self.plan.steps_per_epoch + step + 1
        totals = {"skipped": self.guard.total_skipped, "nonfinite": self.nonfinite.total}
        self.log.step({"epoch": epoch, "step": number, "lr": learning_rate, **totals, **averages})
        self.meter.reset()
        if self.graphs:
            self.graphs.check()

    def save(self) -> None:
        """Begin to write a checkpoint, between any two steps. Collective.

        After an epoch it is also named checkpoint_{epoch}.pth, where tools look for it.

        Raises:
            TrainingError: on all processes, if a weight is not finite, or the checkpoint before could not be written;
                earlier ones stay untouched.
        """
        started = time.perf_counter()
        epoch, step = divmod(self.steps, self.plan.steps_per_epoch)
        ended = epoch - 1 if epoch and not step else None
        spare = self.steps - self.nonfinite.in_a_row
        path = self.saver.save(self.steps, lambda: self.state.content(self.steps), self.engine, ended, spare)
        self.log.event(
            event="checkpoint",
            epoch=epoch if ended is None else ended,
            step=self.steps,
            path=path.relative_to(self.output_dir).as_posix(),
            seconds=round(time.perf_counter() - started, 3),
        )

    def _restore(self, point: ResumePoint) -> None:
        """Continue from a checkpoint, whose weights are loaded already."""
        self.state.restore(point)
        if point.progress:
            self.log.forget_scores(self.validation.epoch)
            if point.named:  # its settings may be the cure
                self.nonfinite.in_a_row = 0
        if point.path.parent == self.checkpoints.folder_of(self.steps):
            self.saver.newest = self.steps
            epoch, step = divmod(self.steps, self.plan.steps_per_epoch)
            if not step:  # the process may have been killed between the two names
                distributed.on_main_process(lambda: self.checkpoints.name_epoch(epoch - 1, self.steps))
        logger.info("%s: resuming after step %d", point.source, self.steps)
