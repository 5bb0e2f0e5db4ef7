"""A model from outside: TimeChat with a key, a parameter and a file of its own; registered when it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timechat.models import TimeChat
from timechat.models.config import TimeChatConfig
from timechat.registry import registry
from timechat.schema import key


@dataclass
class ScaledConfig(TimeChatConfig):
    """A TimeChat whose video embeddings are scaled."""

    first_scale: float = key(1.0, "what they are multiplied by at first")
    greeting: str = key("", "a text file", file=True)


@registry.register_model("scaled_timechat", config=ScaledConfig)
class ScaledTimeChat(TimeChat):
    """Video embeddings are multiplied by a parameter, and moved by a buffer that is tied to nothing."""

    def build(self, load_weights: bool) -> None:
        """As above, and the factor."""
        super().build(load_weights)
        self.scale = nn.Parameter(torch.tensor([float(self.cfg.first_scale)]))
        self.register_buffer("shift", torch.zeros(1))
        self.twin = self.scale  # the same parameter under a second name
        self.greeting = Path(self.cfg.greeting).read_text() if self.cfg.greeting else ""

    def _encode_packed(self, *args: Any) -> list[Tensor]:
        return [self.scale * video + self.shift for video in super()._encode_packed(*args)]

    def write_files(self, folder: Path) -> dict[str, Any]:
        """As above, and the greeting."""
        (folder / "greeting.txt").write_text(self.greeting)
        return super().write_files(folder) | {"greeting": Path("greeting.txt")}
