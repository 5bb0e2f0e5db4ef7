"""What a checkpoint holds of a run, and how a run takes it up again."""

from __future__ import annotations

import copy
import logging
from dataclasses import InitVar, dataclass, field
from typing import Any, Protocol

import torch
from omegaconf import DictConfig

from timechat import distributed
from timechat.config import plain
from timechat.runners.checkpointing import ENGINE_FOLDER
from timechat.runners.engines import Engine
from timechat.runners.logs import Meter
from timechat.runners.plan import TrainingPlan
from timechat.runners.resume import ResumePoint

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A part of a run that a resumed run restores; its state is the same on all processes."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        ...


@dataclass
class RunState:
    """What has to be saved, besides the position.

    Attributes:
        cfg: the whole config.
        plan: of the run.
        optimized: published names of the parameters that learn, in the optimizer's order.
        engine: has the model and the optimizer.
        meter: of this process.
        data: what was known of the datasets at the start, by its name in checkpoints.
        parts: what else is restored, by its name in checkpoints.
        optimizer: before the engine gets it, which may replace the parameters by shards.
        weight_decays, shapes: of its groups, and of all parameters in them.
    """

    cfg: DictConfig
    plan: TrainingPlan
    optimized: list[str]
    engine: Engine
    meter: Meter
    data: dict[str, Any]
    parts: dict[str, Stateful]
    optimizer: InitVar[torch.optim.Optimizer]
    weight_decays: list[float] = field(init=False)
    shapes: list[torch.Size] = field(init=False)

    def __post_init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.weight_decays = [group["weight_decay"] for group in optimizer.param_groups]
        self.shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]

    def content(self, steps: int) -> dict[str, Any]:
        """The published format, plus `progress` with what that lacks, in memory of its own. Collective.

        Args:
            steps: that are done, over all epochs.
        """
        epoch, step = divmod(steps, self.plan.steps_per_epoch)
        meters = distributed.gather_objects(self.meter.state_dict())
        return {
            "model": self.engine.model_state(),
            **self.engine.state_dict(),
            "optimized": self.optimized,
            "epoch": epoch - 1,  # the last one that is finished
            "config": plain(self.cfg),
            "progress": {
                "epoch": epoch,
                "step": step,
                "global_batch": self.plan.global_batch,
                "world_size": distributed.world_size(),
                **self.data,
                "meters": meters,
                **{name: copy.deepcopy(part.state_dict()) for name, part in self.parts.items()},
            },
        }

    def restore(self, point: ResumePoint) -> None:
        """Continue from a checkpoint, whose weights are loaded already."""
        content, source, progress = point.content, point.source, point.progress
        if content.get("optimized") != self.optimized:
            logger.warning(
                "%s: its optimizer state does not name these parameters (published checkpoints name none): the weights "
                "are loaded, the optimizer starts anew", source
            )  # fmt: skip
        else:
            point.leave_out_misshapen(self.shapes)
            self.engine.load_state_dict(content)
            self.engine.load(point.path.parent / ENGINE_FOLDER)
            self._keep_settings()
        if not progress:
            logger.warning(
                "%s: has no position within an epoch and no counters (published checkpoints have none): training "
                "continues with the epoch after its last one, epoch %d", source, content["epoch"] + 1
            )  # fmt: skip
            return
        self.meter.load_state_dicts(progress["meters"])
        for name, part in self.parts.items():
            if name in progress:
                part.load_state_dict(progress[name])

    def _keep_settings(self) -> None:
        """A loaded optimizer state carries the settings of its run; those of this config take precedence."""
        for group, weight_decay in zip(self.engine.optimizer.param_groups, self.weight_decays, strict=True):
            group["weight_decay"] = weight_decay
            group["betas"] = (group["betas"][0], self.cfg.run.beta2)
