"""TimeChat for widths at which the published initial weights do not learn."""

from __future__ import annotations

from quickstart.config import SmallConfig
from quickstart.initialization import initialize
from timechat.models import TimeChat
from timechat.registry import registry


@registry.register_model("small_timechat", config=SmallConfig)
class SmallTimeChat(TimeChat):
    """The published architecture; only its random initial weights may differ.

    Args, Attributes, Raises: as for BaseModel.
    """

    def build(self, load_weights: bool) -> None:
        """As above, initial weights as `model.initialization` says; LLaMA has those of its folder."""
        super().build(load_weights)
        initialize(self, self.cfg.initialization, but=("llama_model",))
