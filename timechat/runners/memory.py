"""An estimate of the memory that training takes on each GPU, before anything is loaded.

Weights, gradients and optimizer states are counted. Activations are what autograd keeps of one forward pass, found by a
pass over fake tensors, which have shapes and no numbers. Left out are temporary buffers and what the allocator holds in
reserve.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from timechat.batch import FrameBatch
from timechat.models import FrameClassifier, FrameReader, TimeChat
from timechat.models import llama as lm

_MOMENTS = 8  # bytes of AdamW's two moments, fp32
_FP32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate_memory(
    model: nn.Module, strategy: str, processes: int, accumulation: int, activations: float
) -> MemoryEstimate:
    """The memory of one process.

    Args:
        model: on any device, also the meta device.
        strategy: one of STRATEGIES. Weights that learn are fp32 with all of them, whatever is computed in.
        processes: that share the work.
        accumulation: micro-batches of each process in one update.
        activations: bytes, see `activation_bytes`.
    """
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    shard = learns / processes
    if strategy == "ddp":  # gradients a second time, in the buckets that are sent
        parts = (frozen + _FP32 * learns, _FP32 * learns * (2 if processes > 1 else 1), _MOMENTS * learns)
    elif strategy == "fsdp":  # what is frozen stays whole; gradients are kept whole until they are exchanged
        parts = (frozen + _FP32 * shard, _FP32 * (shard if accumulation == 1 else learns), _MOMENTS * shard)
    elif strategy == "deepspeed_zero2":  # the optimizer works on a copy of its part of the weights
        parts = (frozen + _FP32 * learns, _FP32 * shard, (_MOMENTS + _FP32) * shard)
    else:
        parts = (frozen / processes + _FP32 * shard, _FP32 * shard, _MOMENTS * shard)
    return MemoryEstimate(*parts, activations)


def activation_bytes(
    model: nn.Module, *, batch: int, frames: int, tokens: int, supervised: int, precision: str
) -> float | None:
    """What autograd keeps of a forward pass, bytes; None for models that are not this project's.

    Args:
        model: on the meta device; its tensors are replaced by fake ones.
        batch: videos of a micro-batch.
        frames: of each video.
        tokens: of each conversation, those of the video included.
        supervised: tokens of each conversation that the loss sees.
        precision: fp32, bf16 or fp16.
    """
    if not isinstance(model, TimeChat | FrameClassifier):
        return None
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = model.to_empty(device="cpu").train()
        pixels = torch.empty(batch * frames, 3, model.cfg.image_size, model.cfg.image_size, dtype=torch.uint8)
        with torch.autocast("cpu", dtype=half) if half else nullcontext():
            if isinstance(model, FrameClassifier):
                return _kept(model, lambda: model.scores(pixels))
            if isinstance(model, FrameReader):
                return _kept(model, lambda: torch.cat(model.scores(_frame_batch(pixels, batch))))
            return _kept(model, lambda: _forward(model, pixels, batch, tokens, supervised))


def _frame_batch(pixels: Tensor, videos: int) -> FrameBatch:
    frames = len(pixels) // videos
    seconds = [[float(i) for i in range(frames)]] * videos
    return FrameBatch(pixels, [frames] * videos, seconds, torch.empty(len(pixels), 0))


def _forward(model: TimeChat, pixels: Tensor, batch: int, tokens: int, supervised: int) -> Tensor:
    """The model's forward pass without the steps that look at numbers."""
    videos = list(pixels.chunk(batch))
    encoded = model.encode_video(videos, [[float(i) for i in range(len(video))] for video in videos])
    llama = lm.causal_lm(model.llama_model)
    text = llama.model.embed_tokens(torch.zeros(batch, tokens - len(encoded[0]), dtype=torch.long))
    embeds = torch.cat([torch.stack(encoded).to(text.dtype), text], dim=1)
    hidden = lm.decode(model.llama_model, embeds, torch.ones(batch, tokens, dtype=torch.bool))
    scores = lm.logits(model.llama_model, hidden[:, -supervised:]).float().flatten(0, 1)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))


def _kept(model: nn.Module, forward: Callable[[], Tensor]) -> float:
    """Bytes of the storages that autograd keeps, the model's own left out."""
    kept: dict[int, Tensor] = {}  # holds the tensors, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    own = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), result]}
    return float(sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own))
