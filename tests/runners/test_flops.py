"""Operations are counted as torch counts them, and related to the peak of the GPU that runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from helpers.tiny import Golden, build_tiny, golden_batch, tiny_config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from timechat.batch import FrameBatch
from timechat.models import FrameClassifier, FrameReader
from timechat.runners.flops import flop_counter, peak_flops, peak_of_name

FROZEN = ("model.freeze_qformer=true", "model.frozen_video_Qformer=true", "model.frozen_llama_proj=true")


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ((), 1e-6),
        (("model.freeze_vit=false",), 1e-6),
        (("model.freeze_llama=false",), 1e-6),
        (("model.freeze_qformer=true", "model.keep_timestamp_tokens=false"), 1e-6),
        (FROZEN, 0.03),  # the first layer's frozen weights pass nothing on, of two layers here, of 32 in earnest
    ],
)
def test_as_many_as_torch_counts(options: Sequence[str], tolerance: float) -> None:
    golden, model = Golden.load(), build_tiny(options).train()
    batch = golden_batch(golden, model.tokenizer)
    # The fused attention of CPUs is not counted by torch.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)["loss"].backward()
    assert flop_counter(model)(batch) == pytest.approx(counter.get_total_flops(), rel=tolerance)


def test_recomputed_activations_do_not_count() -> None:
    golden, plain = Golden.load(), build_tiny()
    batch = golden_batch(golden, plain.tokenizer)
    checkpointed = build_tiny(["model.use_grad_checkpoint=true"])
    assert flop_counter(checkpointed)(batch) == flop_counter(plain)(batch)


def test_of_the_frame_classifier() -> None:
    model = FrameClassifier(tiny_config(["model.freeze_vit=false"]).model, num_words=7, load_weights=False)
    batch = FrameBatch(torch.zeros(3, 3, 56, 56, dtype=torch.uint8), [2, 1], [[0.0, 1.0], [0.0]], torch.zeros(3, 7))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)["loss"].backward()
    assert flop_counter(model)(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_of_the_frame_reader() -> None:
    options = ["model.arch=frame_reader", "model.freeze_vit=false", "model.freeze_qformer=false"]
    model = FrameReader(tiny_config(options).model, num_words=7, load_weights=False)
    batch = FrameBatch(torch.zeros(3, 3, 56, 56, dtype=torch.uint8), [2, 1], [[0.0, 1.0], [0.0]], torch.zeros(3, 7))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)["loss"].backward()
    assert flop_counter(model)(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_models_of_others_are_not_counted() -> None:
    assert flop_counter(nn.Linear(1, 1)) is None


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("Tesla V100-SXM2-32GB", None),
        ("NVIDIA A1000", None),
    ],
)
def test_peaks_are_found_by_the_devices_name(name: str, tera: float | None) -> None:
    assert peak_of_name(name) == (None if tera is None else tera * 1e12)


def test_a_cpu_has_no_peak() -> None:
    assert peak_flops(torch.device("cpu")) is None
