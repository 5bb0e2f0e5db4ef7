"""A loss with a weight."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from timechat.batch import Batch
from timechat.registry import registry
from timechat.schema import Section, key
from timechat.tasks import InstructionTask


@dataclass
class WeightedConfig(Section):
    """What the task adds to the section `run`."""

    my_loss_weight: float = key(1.0, "factor of the training loss", least=0, heading="Weighted loss")


@registry.register_task("my_task", config=WeightedConfig)
class WeightedTask(InstructionTask):
    """Learns to answer instructions, with a weight."""

    def train_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean of the samples' losses, times the weight."""
        return self.cfg.run.my_loss_weight * super().train_step(model, batch)
