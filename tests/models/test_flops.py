"""Operations are counted as torch counts them, and related to the peak of the GPU that runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from helpers.tiny import Golden, build_tiny, golden_batch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from timechat.models import BaseModel

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
    assert model.flop_counter()(batch) == pytest.approx(counter.get_total_flops(), rel=tolerance)


def test_recomputed_activations_do_not_count() -> None:
    golden, plain = Golden.load(), build_tiny()
    batch = golden_batch(golden, plain.tokenizer)
    checkpointed = build_tiny(["model.use_grad_checkpoint=true"])
    assert checkpointed.flop_counter()(batch) == plain.flop_counter()(batch)


def test_a_model_that_does_not_say_is_not_counted() -> None:
    class Plain(BaseModel):
        def build(self, load_weights: bool) -> None:
            self.linear = nn.Linear(1, 1)

    assert Plain(OmegaConf.create(), load_weights=False).flop_counter() is None
