"""TimeChat for small widths, at which it does not learn from the published initial weights."""

from __future__ import annotations

from quickstart.config import SmallConfig
from quickstart.initialization import initialize
from timechat.models import TimeChat
from timechat.registry import registry


@registry.register_model("small_timechat", config=SmallConfig)
class SmallTimeChat(TimeChat):
    """The published architecture, with a choice of random initial weights.

    Args, Attributes, Raises: as for BaseModel.
    """

    def build(self, load_weights: bool) -> None:
        """As TimeChat, with initial weights according to `model.initialization`; LLaMA keeps those of its folder."""
        super().build(load_weights)
        initialize(self, self.cfg.initialization, but=("llama_model",))
