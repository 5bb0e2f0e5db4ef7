"""From the units of a config to the steps of this run.

Published configs count micro-batches of each process, at 8 processes. `run.reference_world_size` says for how many
processes a config's numbers are meant; on another number accumulation changes, so that the global batch, the number of
updates and the learning rate of each update stay the same.

Where `run.iters_per_epoch` is no multiple of `run.accum_grad_iters` (3102 and 8 in the published Charades recipe), the
last update of an epoch takes the micro-batches that are left.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.runners.schedules import LRSchedule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """How long the run is and how its batches are cut.

    Attributes:
        max_epoch: epochs.
        updates_per_epoch: optimizer steps of an epoch.
        accumulation: micro-batches of each process in one update.
        micro_batch: samples of one process's micro-batch.
        global_batch: samples of one update, over all processes.
        iters_per_update: steps of the config's unit in one update; the last one of an epoch may have fewer.
        draws: positions of an epoch's sample stream; None for one pass over everything.
        samples: how many positions that are; the last update of an epoch has what is left.
        schedule: learning rate by step of the config's unit.
    """

    max_epoch: int
    updates_per_epoch: int
    accumulation: int
    micro_batch: int
    global_batch: int
    iters_per_update: int
    draws: int | None
    samples: int
    schedule: LRSchedule

    def learning_rate(self, epoch: int, update: int) -> float:
        """The rate of an update of an epoch, both from 0: the published one at the update's last micro-batch."""
        per_epoch = self.schedule.iters_per_epoch
        done = min((update + 1) * self.iters_per_update, per_epoch)
        return self.schedule(epoch * per_epoch + done - 1)

    def updates_of(self, steps: int) -> int:
        """How many updates the first steps of the config's unit take, counted from the beginning of the run."""
        epochs, rest = divmod(steps, self.schedule.iters_per_epoch)
        return epochs * self.updates_per_epoch - (-rest // self.iters_per_update)

    def samples_of(self, update: int) -> int:
        """How many samples an update of an epoch, from 0, has over all processes."""
        return min(self.global_batch, self.samples - update * self.global_batch)


def make_plan(run: DictConfig, world_size: int, num_samples: int, global_batch: int | None = None) -> TrainingPlan:
    """Plan a run.

    Args:
        run: the config's `run` section.
        world_size: processes there are.
        num_samples: of all datasets together, the length of one pass.
        global_batch: of the run that this one goes on with, which is kept; None: as the config says.

    Raises:
        ConfigError: a number of processes that cannot share a global batch, naming those that can.
    """
    reference = run.reference_world_size or world_size
    meant = run.accum_grad_iters * reference * run.batch_size_train
    if global_batch not in (None, meant):
        logger.info("the global batch of %d samples is kept; the config alone would give %d", global_batch, meant)
    global_batch = global_batch or meant
    if global_batch % (run.batch_size_train * world_size):
        raise ConfigError(_cannot_share(run, world_size, reference, global_batch))
    draws = None
    if run.iters_per_epoch is not None:
        whole, left = divmod(run.iters_per_epoch, run.accum_grad_iters)
        draws = whole * global_batch + math.ceil(left * global_batch / run.accum_grad_iters)
    samples = num_samples if draws is None else draws
    updates = math.ceil(samples / global_batch)
    schedule_class = registry.get_lr_scheduler_class(run.lr_sched)
    schedule = schedule_class.from_config(run, run.iters_per_epoch or updates * run.accum_grad_iters)
    return TrainingPlan(
        max_epoch=run.max_epoch,
        updates_per_epoch=updates,
        accumulation=global_batch // (run.batch_size_train * world_size),
        micro_batch=run.batch_size_train,
        global_batch=global_batch,
        iters_per_update=run.accum_grad_iters,
        draws=draws,
        samples=samples,
        schedule=schedule,
    )


def _cannot_share(run: DictConfig, world_size: int, reference: int, global_batch: int) -> str:
    """What is wrong, and which numbers of processes fit."""
    if global_batch != run.accum_grad_iters * reference * run.batch_size_train:
        batches = f"the checkpoint's {global_batch} samples of an update in micro-batches of {run.batch_size_train}"
    else:
        batches = (
            f"the {global_batch // run.batch_size_train} micro-batches of an update (run.accum_grad_iters="
            f"{run.accum_grad_iters} x run.reference_world_size={reference})"
        )
    whole, rest = divmod(global_batch, run.batch_size_train)
    if rest:
        return f"{world_size} processes cannot share {batches}; set a run.batch_size_train that divides them"
    fitting = ", ".join(str(n) for n in range(1, whole + 1) if whole % n == 0)
    return f"{world_size} processes cannot share {batches}; start {fitting} processes"
