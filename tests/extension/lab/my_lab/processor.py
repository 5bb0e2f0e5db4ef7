"""Darker or brighter frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timechat.datasets.processors import FrameProcessor
from timechat.registry import registry
from timechat.schema import Section, key


@dataclass
class BrightnessConfig(Section):
    """One key; those that every processor has come by themselves."""

    brightness: float = key(1.0, "factor of each pixel", least=0, most=2)


@registry.register_processor("my_brightness", config=BrightnessConfig)
class Brightness(FrameProcessor):
    """Multiplies pixels; what goes beyond white is white."""

    def __init__(self, image_size: int, brightness: float):
        super().__init__(image_size)
        self.brightness = brightness

    def __call__(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Frames uint8 [T, 3, H, W] -> the same."""
        frames = super().__call__(frames, generator)
        return (frames * self.brightness).round().clamp(0, 255).to(torch.uint8)
