"""Crops: shapes, bounds, randomness, configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from timechat.datasets.processors import AlproVideoEval, AlproVideoTrain, BlipImageTrain, random_crop_box
from timechat.datasets.video import load_video
from timechat.errors import ConfigError, RegistryError
from timechat.registry import registry

GOLDEN = Path(__file__).parents[1] / "golden" / "preprocess"
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(count: int = 3, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=_generator(9))


def test_evaluation_agrees_with_the_published_preprocessing():
    """From the file to what the model sees, with the model's normalisation."""
    expected = json.loads((GOLDEN / "expected.json").read_text())
    settings = {"image_size": expected["image_size"], "n_frms": expected["n_frms"]}
    processor = registry.get_processor_class("alpro_video_eval")(**settings)
    frames = processor(load_video(GOLDEN / "clip.mp4", processor.n_frms, processor.image_size).frames)
    normalised = (frames.float() / 255 - MEAN) / STD
    torch.testing.assert_close(normalised, load_file(GOLDEN / "expected.safetensors")["normalised"], rtol=0, atol=1e-6)


def test_evaluation_changes_nothing():
    frames = _noise()
    out = AlproVideoEval(image_size=32)(frames)
    assert out.is_contiguous()
    assert torch.equal(out, frames)


def test_evaluation_refuses_frames_of_another_size():
    with pytest.raises(ConfigError, match="image_size is 32, but the frames are 16 x 16"):
        AlproVideoEval(image_size=32)(_noise(side=16))


@pytest.mark.parametrize("name", ["alpro_video_train", "alpro_video_eval", "blip_image_train", "blip_image_eval"])
def test_frame_processors_by_name(name):
    processor = registry.get_processor_class(name)(image_size=32)
    out = processor(_noise(1), _generator())
    assert out.shape == (1, 3, 32, 32)
    assert out.dtype == torch.uint8


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 20))
def test_a_crop_box_lies_inside_the_frame(height, width, seed):
    top, left, box_height, box_width = random_crop_box(height, width, _generator(seed))
    assert box_height >= 1
    assert box_width >= 1
    assert 0 <= top <= height - box_height
    assert 0 <= left <= width - box_width


def test_crop_boxes_keep_scale_and_ratio_and_reach_every_corner():
    boxes = torch.tensor([random_crop_box(224, 224, _generator(seed)) for seed in range(500)]).double()
    shares = boxes[:, 2] * boxes[:, 3] / 224**2
    ratios = boxes[:, 3] / boxes[:, 2]
    assert 0.49 < shares.min() < 0.55
    assert 0.9 < shares.max() <= 1.0
    assert 0.74 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.35
    assert boxes[:, :2].min() == 0
    assert (boxes[:, 0] + boxes[:, 2]).max() == (boxes[:, 1] + boxes[:, 3]).max() == 224


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10)])
def test_no_box_fits_a_very_long_frame_so_its_middle_is_taken(height, width):
    top, left, box_height, box_width = random_crop_box(height, width, _generator())
    assert (top, left) == ((height - box_height) // 2, (width - box_width) // 2)
    assert 0.7 < box_width / box_height < 1.4


def test_the_crop_is_a_function_of_the_generator_alone():
    frames = _noise()
    processor = AlproVideoTrain(image_size=32)
    first = processor(frames, _generator(1))
    torch.manual_seed(123)
    assert torch.equal(first, processor(frames, _generator(1)))
    assert not torch.equal(first, processor(frames, _generator(2)))


def test_one_crop_serves_all_frames():
    frames = _noise(1).repeat(9, 1, 1, 1)
    out = AlproVideoTrain(image_size=32)(frames, _generator(3))
    assert torch.equal(out, out[:1].expand_as(out))


def _resized_crop(frames: torch.Tensor, seed: int) -> torch.Tensor:
    """The box of a crop, resized in single precision, as it is before it becomes pixels."""
    top, left, height, width = random_crop_box(32, 32, _generator(seed))
    box = frames[..., top : top + height, left : left + width].float()
    resized = torch.nn.functional.interpolate(box, (32, 32), mode="bicubic", align_corners=False)
    assert resized.max() > 256  # the overshoot of bicubic
    assert resized.min() < -1
    return resized


def test_the_crop_of_a_video_is_the_published_one():
    """The whole number towards zero, modulo 256; also of more frames than are resized together."""
    frames = _noise(9)
    wanted = [math.trunc(value) % 256 for value in _resized_crop(frames, 5).flatten().tolist()]
    assert AlproVideoTrain(image_size=32)(frames, _generator(5)).flatten().tolist() == wanted


def test_the_crop_of_an_image_is_rounded_and_clamped():
    frames = _noise(1)
    out = BlipImageTrain(image_size=32)(frames, _generator(5)).double()
    assert (out - _resized_crop(frames, 5).clamp(0, 255)).abs().max() < 0.51


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_flat_frame_stays_flat(level):
    frames = torch.full((2, 3, 32, 32), level, dtype=torch.uint8)
    for seed in range(10):
        assert torch.unique(BlipImageTrain(image_size=32)(frames, _generator(seed))).tolist() == [level]
        cut = torch.unique(AlproVideoTrain(image_size=32)(frames, _generator(seed))).tolist()
        assert set(cut) <= {level, max(level - 1, 0)}  # 99.99999 is 99


def test_nothing_is_mirrored():
    """A ramp from dark to bright keeps its direction, whatever the crop."""
    frames = (torch.arange(32) * 7 + 10).to(torch.uint8).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    for seed in range(20):
        row = AlproVideoTrain(image_size=32)(frames, _generator(seed))[0, 0, 16].int()
        assert (row[1:] >= row[:-1]).all()


def test_a_full_crop_of_a_fixed_scale_changes_nothing():
    processor = BlipImageTrain(image_size=32, min_scale=1.0, max_scale=1.0)
    frames = _noise(1)
    outs = [processor(frames, _generator(seed)) for seed in range(30)]
    assert any(torch.equal(out, frames) for out in outs)


def test_a_random_crop_without_a_generator_is_refused():
    with pytest.raises(ConfigError, match="Generator"):
        AlproVideoTrain(image_size=32)(_noise())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"n_frms": "96"}, "n_frms is '96'"),
        ({"min_scale": 0.9, "max_scale": 0.5}, "min_scale"),
    ],
)
def test_configuration_errors_name_the_key(config, message):
    with pytest.raises(ConfigError, match=message):
        AlproVideoTrain(**config)


def test_defaults():
    processor = AlproVideoTrain()
    assert (processor.image_size, processor.n_frms, processor.scale) == (224, 96, (0.5, 1.0))


def test_an_unknown_processor_lists_the_known_ones():
    with pytest.raises(RegistryError, match="alpro_video_train"):
        registry.get_processor_class("alpro_video_trian")
