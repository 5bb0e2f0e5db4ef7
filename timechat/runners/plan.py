"""From the units of a config to the optimizer steps of this run.

Published configs count iterations: micro-batches of one process, when there are 8. `run.reference_world_size` says how
many processes a config's numbers are meant for; on another number, accumulation changes, so that the global batch, the
number of optimizer steps and the learning rate of each step stay the same.

If `run.iters_per_epoch` is not a multiple of `run.accum_grad_iters` (3102 and 8 in the published Charades recipe), the
last step of an epoch takes the micro-batches that are left.
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

MOST_DRAWS = 10**9  # positions of an epoch's sample stream, which is held in memory, some 30 bytes each
MOST_PROCESSES = 4096  # that an error message proposes


@dataclass(frozen=True)
class TrainingPlan:
    """How long the run is and how its batches are divided.

    Attributes:
        max_epoch: epochs.
        steps_per_epoch: optimizer steps of an epoch.
        accumulation: micro-batches of each process in one step.
        micro_batch: samples of one process's micro-batch.
        global_batch: samples of one step, over all processes.
        iters_per_step: iterations, the config's unit, in one step; the last one of an epoch may have fewer.
        draws: positions of an epoch's sample stream; None for one pass over everything.
        samples: how many positions that is; the last step of an epoch has what is left.
        schedule: learning rate by iteration.
    """

    max_epoch: int
    steps_per_epoch: int
    accumulation: int
    micro_batch: int
    global_batch: int
    iters_per_step: int
    draws: int | None
    samples: int
    schedule: LRSchedule

    def learning_rate(self, epoch: int, step: int) -> float:
        """The rate of a step of an epoch, both counted from 0: the published one at the step's last micro-batch."""
        per_epoch = self.schedule.iters_per_epoch
        done = min((step + 1) * self.iters_per_step, per_epoch)
        return self.schedule(epoch * per_epoch + done - 1)

    def steps_of(self, iterations: int) -> int:
        """How many optimizer steps the first iterations of the run take."""
        epochs, rest = divmod(iterations, self.schedule.iters_per_epoch)
        return epochs * self.steps_per_epoch - (-rest // self.iters_per_step)

    def samples_of(self, step: int) -> int:
        """How many samples a step of an epoch, counted from 0, has over all processes."""
        return min(self.global_batch, self.samples - step * self.global_batch)


def make_plan(run: DictConfig, world_size: int, num_samples: int, global_batch: int | None = None) -> TrainingPlan:
    """Plan a run.

    Args:
        run: the config's `run` section.
        world_size: number of processes.
        num_samples: of all datasets together, the length of one pass.
        global_batch: of the run that is resumed, which is kept; None: as the config says.

    Raises:
        ConfigError: these processes cannot share a global batch; the message names the numbers that can. Or an epoch
            is too long for its sample stream.
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
        if draws > MOST_DRAWS:
            raise ConfigError(
                f"run.iters_per_epoch={run.iters_per_epoch} draws {draws} samples in an epoch (run.batch_size_train="
                f"{run.batch_size_train}, {reference} processes), more than {MOST_DRAWS}; train more, shorter epochs"
            )
    samples = num_samples if draws is None else draws
    steps = math.ceil(samples / global_batch)
    schedule_class = registry.get_lr_scheduler_class(run.lr_sched)
    schedule = schedule_class.from_config(run, run.iters_per_epoch or steps * run.accum_grad_iters)
    return TrainingPlan(
        max_epoch=run.max_epoch,
        steps_per_epoch=steps,
        accumulation=global_batch // (run.batch_size_train * world_size),
        micro_batch=run.batch_size_train,
        global_batch=global_batch,
        iters_per_step=run.accum_grad_iters,
        draws=draws,
        samples=samples,
        schedule=schedule,
    )


def _cannot_share(run: DictConfig, world_size: int, reference: int, global_batch: int) -> str:
    """What is wrong, and which numbers of processes would fit."""
    if global_batch != run.accum_grad_iters * reference * run.batch_size_train:
        batches = f"the checkpoint's {global_batch} samples of a step in micro-batches of {run.batch_size_train}"
    else:
        batches = (
            f"the {global_batch // run.batch_size_train} micro-batches of a step (run.accum_grad_iters="
            f"{run.accum_grad_iters} x run.reference_world_size={reference})"
        )
    whole, rest = divmod(global_batch, run.batch_size_train)
    if rest:
        return f"{world_size} processes cannot share {batches}; set a run.batch_size_train that divides them"
    fitting = ", ".join(str(n) for n in range(1, min(whole, MOST_PROCESSES) + 1) if whole % n == 0)
    return f"{world_size} processes cannot share {batches}; start {fitting} processes"
