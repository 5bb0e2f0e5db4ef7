"""What happens to frames between decoding and the batch: crops. Pixels stay uint8, frames [T, 3, H, W].

The names are those of published YAML files. Processors do not normalise: the model does that, once, on the device. All
randomness comes from the generator that is passed in, so a sample's crop depends on nothing else.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from timechat.datasets.config import ImageCropConfig, ImageProcessorConfig, VideoCropConfig, VideoProcessorConfig
from timechat.errors import ConfigError
from timechat.registry import registry

CROP_RATIO = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10

# Frames whose floats stay in the cache of a processor while they are resized: 96 frames took one core 160, not 280 ms.
_FRAMES_AT_ONCE = 4


def random_crop_box(
    height: int,
    width: int,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.5, 1.0),
    ratio: tuple[float, float] = CROP_RATIO,
) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop.

    Args:
        height, width: of the frames, pixels.
        generator: the only source of randomness.
        scale: bounds of the box's share of the area, drawn uniformly.
        ratio: bounds of the box's width / height, drawn uniformly on a logarithmic scale.

    Returns:
        (top, left, box height, box width), inside the frame. If no drawn box fits, the largest centred box whose ratio
        is within bounds.
    """
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * _uniform(*scale, generator)
        aspect = math.exp(_uniform(math.log(ratio[0]), math.log(ratio[1]), generator))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(torch.randint(height - box_height + 1, (1,), generator=generator))
            left = int(torch.randint(width - box_width + 1, (1,), generator=generator))
            return top, left, box_height, box_width
    box_width = max(1, min(width, int(height * ratio[1])))
    box_height = max(1, min(height, int(width / ratio[0])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))


class FrameProcessor:
    """Turns decoded frames, uint8 [T, 3, H, W], into uint8 [T, 3, image_size, image_size].

    Args:
        image_size: side of the square, pixels.
        n_frms: frames that are sampled from a video; used by the decoding, not here.
    """

    def __init__(self, image_size: int = 224, n_frms: int = 96):
        for key, value in (("image_size", image_size), ("n_frms", n_frms)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"processor {type(self).__name__}: {key} is {value!r}; give a whole number above 0.")
        self.image_size = image_size
        self.n_frms = n_frms

    def __call__(self, frames: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the frames unchanged.

        Raises:
            ConfigError: the frames were not decoded at image_size.
        """
        if tuple(frames.shape[2:]) != (self.image_size, self.image_size):
            raise ConfigError(
                f"processor {type(self).__name__}: image_size is {self.image_size}, but the frames are "
                f"{frames.shape[2]} x {frames.shape[3]}; decode them at image_size {self.image_size}."
            )
        return frames


class CropProcessor(FrameProcessor):
    """One random resized crop, the same for all frames (bicubic, no flip).

    Args:
        image_size, n_frms: see FrameProcessor.
        min_scale, max_scale: bounds of the crop's share of the area.
    """

    def __init__(self, image_size: int = 224, n_frms: int = 96, min_scale: float = 0.5, max_scale: float = 1.0):
        super().__init__(image_size, n_frms)
        if not 0 < min_scale <= max_scale <= 1:
            raise ConfigError(
                f"processor {type(self).__name__}: min_scale is {min_scale}, max_scale {max_scale}; "
                "give 0 < min_scale <= max_scale <= 1."
            )
        self.scale = (float(min_scale), float(max_scale))

    def __call__(self, frames: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Crop and resize.

        Raises:
            ConfigError: no generator.
        """
        if generator is None:
            raise ConfigError(f"processor {type(self).__name__} crops at random; pass a torch.Generator.")
        top, left, height, width = random_crop_box(frames.shape[2], frames.shape[3], generator, self.scale)
        boxes, size = frames[..., top : top + height, left : left + width], (self.image_size, self.image_size)
        cropped = torch.empty(*frames.shape[:2], *size, dtype=torch.uint8)
        for some, into in zip(boxes.split(_FRAMES_AT_ONCE), cropped.split(_FRAMES_AT_ONCE), strict=True):
            resized = F.interpolate(some.float(), size=size, mode="bicubic", align_corners=False)
            into.copy_(self._to_pixels(resized))
        return cropped

    def _to_pixels(self, resized: torch.Tensor) -> torch.Tensor:
        """Floats -> uint8. Bicubic overshoots at edges, and a flat 100 comes back as 99.99999."""
        return resized.round_().clamp_(0, 255).to(torch.uint8)


@registry.register_processor("alpro_video_train", config=VideoCropConfig)
class AlproVideoTrain(CropProcessor):
    """Frames of a training video, pixel by pixel those of the published code, whose released weights learned from them.

    It cuts off what follows the point, and what overshoots wraps around: 99.99 becomes 99, 257.3 becomes 1 and -2.8
    becomes 254.
    """

    def _to_pixels(self, resized: torch.Tensor) -> torch.Tensor:
        # By way of int32: what becomes of a float beyond uint8 depends on the machine.
        return resized.to(torch.int32).to(torch.uint8)


@registry.register_processor("alpro_video_eval", config=VideoProcessorConfig)
class AlproVideoEval(FrameProcessor):
    """Frames of an evaluated video."""


@registry.register_processor("blip2_image_train", config=ImageCropConfig)
@registry.register_processor("blip_image_train", config=ImageCropConfig)
class BlipImageTrain(CropProcessor):
    """A training image, already squashed to the square."""

    def __init__(self, image_size: int = 224, min_scale: float = 0.5, max_scale: float = 1.0):
        super().__init__(image_size, n_frms=1, min_scale=min_scale, max_scale=max_scale)


@registry.register_processor("blip2_image_eval", config=ImageProcessorConfig)
@registry.register_processor("blip_image_eval", config=ImageProcessorConfig)
class BlipImageEval(FrameProcessor):
    """An evaluated image, already squashed to the square."""

    def __init__(self, image_size: int = 224):
        super().__init__(image_size, n_frms=1)
