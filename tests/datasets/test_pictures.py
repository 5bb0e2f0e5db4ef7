"""Pictures of every depth and kind: which pixels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from timechat.datasets.video import load_image
from timechat.errors import ConfigError, VideoError


@pytest.mark.parametrize(
    ("suffix", "mode"), [("png", "RGB"), ("jpg", "L"), ("png", "RGBA"), ("gif", "P"), ("webp", "RGB")]
)
def test_images_are_squashed_rgb(tmp_path, suffix, mode):
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (40, 20), (200, 100, 50)).convert(mode).save(path)
    image = load_image(path, 16)
    assert image.frames.shape == (1, 3, 16, 16)
    assert image.frames.dtype == torch.uint8
    assert (image.seconds, image.fps, image.duration) == ([0.0], 0.0, 0.0)
    assert load_image(path, None).frames.shape == (1, 3, 20, 40)


def test_image_pixels_are_bicubic(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    wanted = np.array(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(load_image(tmp_path / "noise.png", 16).frames[0].numpy(), wanted.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_shades(tmp_path, suffix):
    """Pillow alone would clip them: all white."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    Image.fromarray(ramp).save(tmp_path / f"ramp.{suffix}")
    levels = load_image(tmp_path / f"ramp.{suffix}", None).frames[0].float()
    assert (levels[:, 0] - torch.linspace(0, 255, 64)).abs().max() <= 0.51


def test_dark_pictures_of_integers_stay_dark(tmp_path):
    Image.fromarray(np.full((8, 8), 200 * 257, np.int32)).save(tmp_path / "flat.tif")
    assert load_image(tmp_path / "flat.tif", 4).frames.unique().tolist() == [200]


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floats_go_to_one_or_to_255(tmp_path, white):
    ramp = np.tile(np.linspace(0, white, 64, dtype=np.float32), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    levels = load_image(tmp_path / "ramp.tif", None).frames[0].float()
    assert (levels[:, 0] - torch.linspace(0, 255, 64)).abs().max() <= 0.51


@pytest.mark.parametrize("value", [-3.0, 300.0, float("nan")])
def test_floats_of_another_range_are_refused(tmp_path, value):
    pixels = np.full((8, 8), 100, np.float32)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(tmp_path / "odd.tif")
    with pytest.raises(VideoError, match=r"odd\.tif: its values go from .* Save it with 8 bits"):
        load_image(tmp_path / "odd.tif", 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_camera_says(tmp_path, orientation):
    upright = Image.new("RGB", (40, 20), (200, 200, 200))
    upright.paste((20, 20, 20), (0, 0, 20, 10))  # dark on the top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    picture = load_image(tmp_path / "photo.png", None).frames[0, 0].numpy()
    assert np.array_equal(picture, np.array(upright)[..., 0])


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, suffix):
    pictures = [Image.new("RGB", (16, 16), (level, level, level)) for level in (40, 200)]
    pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:], duration=100)
    assert load_image(tmp_path / f"a.{suffix}", 8).frames.float().mean() == pytest.approx(40, abs=3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_ignored_as_in_the_published_code(tmp_path, mode):
    picture = Image.new("RGBA", (16, 16), (200, 100, 50, 0)).convert(mode)
    picture.save(tmp_path / "clear.png", **({"transparency": 0} if mode == "P" else {}))
    with Image.open(tmp_path / "clear.png") as image:
        wanted = np.array(image.convert("RGB"))
    assert np.array_equal(load_image(tmp_path / "clear.png", None).frames[0].permute(1, 2, 0).numpy(), wanted)


def test_images_that_cannot_be_read(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    for name in ("cut.png", "text.jpg", "empty.jpg", "missing.jpg", "."):
        with pytest.raises(VideoError):
            load_image(tmp_path / name, 16)
    with pytest.raises(ConfigError):
        load_image(tmp_path / "good.png", 0)
