"""Reading one picture: an image, or a frame of a video that is stored as pictures."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps

from timechat.datasets.readers.base import check_file, one_line
from timechat.errors import VideoError

# What Pillow raised for thousands of damaged files of each common format.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_picture(name: str, image_size: int | None) -> torch.Tensor:
    """A picture as uint8 [3, H, W], squashed to a square (bicubic) unless image_size is None.

    It is turned as its EXIF data says. White is 65535 with 16 bits, and 1 in floats, or 255 if there are any above 1.

    Raises:
        VideoError: the file is missing, empty, damaged or not an image, or its values have no known range.
    """
    check_file(name, "image")
    try:
        with Image.open(name) as image:
            picture = _eight_bits(name, ImageOps.exif_transpose(image)).convert("RGB")
    except _PILLOW_ERRORS as error:
        raise VideoError(
            name, f"cannot be read as an image ({one_line(error)}). Replace the file or leave it out."
        ) from error
    if image_size is not None:
        picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return rearrange(torch.from_numpy(np.array(picture, dtype=np.uint8)), "h w c -> c h w").contiguous()


def _eight_bits(name: str, picture: Image.Image) -> Image.Image:
    """A picture of 16 bits or floats as one of 8 bits; any other as it is. Pillow alone would clip them at 255.

    Raises:
        VideoError: its values have no known range.
    """
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if picture.mode == "F" and high <= 1:  # the convention of floats: 1 is white
        white = 1.0
    elif picture.mode == "F":
        white = 255.0
    else:
        white = 65535.0
    if not 0 <= low <= high <= white:
        raise VideoError(
            name,
            f"its values go from {low:g} to {high:g}; {picture.mode} pictures go from 0 to {white:g}. Save it with 8 "
            "bits a channel.",
        )
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))
