"""Operations of the models without a decoder are counted as torch counts them."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import tiny_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from quickstart.batch import FrameBatch
from quickstart.frame_classifier import FrameClassifier
from quickstart.frame_reader import FrameReader

CLASSIFIER = ["model.arch=frame_classifier", "model.num_words=7", "model.freeze_vit=false"]


def test_of_the_frame_classifier() -> None:
    model = FrameClassifier(tiny_config(CLASSIFIER).model, load_weights=False)
    batch = FrameBatch(torch.zeros(3, 3, 56, 56, dtype=torch.uint8), [2, 1], [[0.0, 1.0], [0.0]], torch.zeros(3, 7))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)["loss"].backward()
    assert model.flop_counter()(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_of_the_frame_reader() -> None:
    options = ["model.arch=frame_reader", "model.num_words=7", "model.freeze_vit=false", "model.freeze_qformer=false"]
    model = FrameReader(tiny_config(options).model, load_weights=False)
    batch = FrameBatch(torch.zeros(3, 3, 56, 56, dtype=torch.uint8), [2, 1], [[0.0, 1.0], [0.0]], torch.zeros(3, 7))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)["loss"].backward()
    assert model.flop_counter()(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)
