"""Floating-point operations of a training step, and what share of the GPUs' peak they are (model FLOP utilisation).

Counted are the matrix products of the architecture: forward of everything, backward of what is trained and of what
gradients pass through. A product of [n, k] and [k, m] counts 2nkm. Attention counts all pairs of tokens, as is the
custom (PaLM, arXiv 2204.02311). What gradient checkpointing computes a second time does not count: it is no work of the
model.

Shapes: F frames, P ViT tokens of a frame, Q query tokens, L tokens of a timestamp sentence, B conversations, S tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from timechat.batch import FrameBatch, VideoBatch
from timechat.models import FrameClassifier, FrameReader, TimeChat
from timechat.models import llama as lm
from timechat.models.qformer import Layer, QFormer
from timechat.models.video_qformer import window_slices
from timechat.text.conversation import IGNORE_INDEX
from timechat.text.timestamps import frame_sentence

# Dense bf16 TFLOP/s with fp32 accumulation, from NVIDIA's data sheets (which print twice the number, "with sparsity",
# for most): nvidia.com/en-us/data-center/{a100,a40,a10-gpu,l4,l40,l40s,h100,h200}; RTX: the GA102 and Ada white papers.
# The first name that is part of the device's name counts.
PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200 NVL": 835.0,
    "H100": 989.4,
    "H200": 989.4,
    "GH200": 989.4,
    "A100": 312.0,
    "A40": 149.7,
    "A10": 125.0,
    "RTX A6000": 154.8,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 6000 Ada": 364.2,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 operations per second that a GPU can do at best; None for devices that are not in the table."""
    if device.type != "cuda":
        return None
    return peak_of_name(torch.cuda.get_device_name(device))


def peak_of_name(name: str) -> float | None:
    """As `peak_flops`, for a name such as "NVIDIA A100-SXM4-80GB"."""
    peaks = (tera * 1e12 for part, tera in PEAK_TFLOPS.items() if re.search(rf"\b{part}\b", name))
    return next(peaks, None)


def flop_counter(model: nn.Module) -> Callable[[VideoBatch | FrameBatch], float] | None:
    """What counts the operations of forward and backward of a batch; None for models that are not this project's.

    Args:
        model: whole, not sharded or wrapped yet.
    """
    if isinstance(model, FrameReader):
        return FrameReaderFlops(model)
    if isinstance(model, TimeChat):
        return TimeChatFlops(model)
    return FrameClassifierFlops(model) if isinstance(model, FrameClassifier) else None


@dataclass(frozen=True)
class _PerToken:
    """Operations of some linear layers for each token that they read: forward and backward."""

    flops: float = 0.0

    @classmethod
    def of(cls, modules: Iterable[nn.Module], gradient_in: bool, gradient_out: bool) -> _PerToken:
        """Of all linear layers in some modules.

        Args:
            gradient_in: whether something before them learns, so that gradients pass through.
            gradient_out: whether gradients arrive at all.
        """
        layers = [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Linear)]
        passes = [1 + gradient_out * (gradient_in + layer.weight.requires_grad) for layer in layers]
        return cls(2.0 * sum(n * layer.weight.numel() for n, layer in zip(passes, layers, strict=True)))

    def __call__(self, tokens: int) -> float:
        return tokens * self.flops


def _attention(queries: int, keys: int, width: int, gradient: bool) -> float:
    """Scores and weighted sum of one attention; twice as much again in backward."""
    return 4.0 * queries * keys * width * (3 if gradient else 1)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


class _VisionFlops:
    """The frame encoder: the same for every frame."""

    def __init__(self, vit: nn.Module):
        learns, patches = _learns(vit), vit.patch_embed
        pixels = patches.proj.weight
        tokens = patches.num_patches + vit.num_prefix_tokens
        # Nothing learns before the patches: their products count once forward and once for their weights.
        per_frame = 2.0 * patches.num_patches * pixels.numel() * (1 + pixels.requires_grad)
        per_frame += _PerToken.of(vit.blocks, learns, learns)(tokens)
        per_frame += len(vit.blocks) * _attention(tokens, tokens, vit.embed_dim, learns)
        self.tokens, self.per_frame = tokens, per_frame


class _QFormerFlops:
    """A Q-Former, whose layers read queries, text and what the queries look at, each through layers of their own.

    Args:
        qformer: counted.
        before: whether what the queries look at learns.
        queries: whether the query tokens learn.
    """

    def __init__(self, qformer: QFormer, before: bool, queries: bool):
        self.layers = qformer.bert.encoder.layer
        self.width = qformer.cfg.hidden_size
        self.gradient = before or queries or _learns(qformer)
        split: dict[str, list[nn.Module]] = {"all": [], "queries": [], "text": [], "keys": []}
        for layer in self.layers:
            for which, modules in _modules_by_input(layer):
                split[which] += modules
        self.per_token = {
            which: _PerToken.of(modules, before if which == "keys" else self.gradient, self.gradient)
            for which, modules in split.items()
        }

    def __call__(self, rows: int, queries: int, text: int, keys: int) -> float:
        """Of `rows` rows with so many tokens each."""
        per_row = self.per_token["all"](queries + text) + self.per_token["queries"](queries)
        per_row += self.per_token["text"](text) + self.per_token["keys"](keys)
        for layer in self.layers:
            per_row += _attention(queries + text, queries + text, self.width, self.gradient)
            if hasattr(layer, "crossattention"):
                per_row += _attention(queries, keys, self.width, self.gradient)
        return rows * per_row


def _modules_by_input(layer: Layer) -> Iterator[tuple[str, list[nn.Module]]]:
    """The parts of a layer by what they read."""
    yield "all", [layer.attention]
    yield "queries", [layer.intermediate_query, layer.output_query]
    if hasattr(layer, "intermediate"):
        yield "text", [layer.intermediate, layer.output]
    if hasattr(layer, "crossattention"):
        yield "queries", [layer.crossattention.self.query, layer.crossattention.output]
        yield "keys", [layer.crossattention.self.key, layer.crossattention.self.value]


class _VideoFlops:
    """What encoding videos costs, as far as the linear layer after the video Q-Former.

    Args:
        model: which of its parts learn decides what backward costs.
        last: that layer.
    """

    def __init__(self, model: TimeChat, last: nn.Linear):
        # Numbers alone: some engines put pieces, or nothing, in the place of the weights that were counted.
        self.cfg, self.tokenizer = model.cfg, model.timestamp_tokenizer
        self.num_queries, self.num_outputs = model.query_tokens.shape[1], model.video_query_tokens.shape[1]
        self.vision = _VisionFlops(model.visual_encoder)
        seen = _learns(model.visual_encoder) or _learns(model.ln_vision)
        self.frames = _QFormerFlops(model.Qformer, seen, model.query_tokens.requires_grad)
        positions = model.video_frame_position_embedding.weight.requires_grad
        queries = model.video_query_tokens.requires_grad
        self.windows = _QFormerFlops(model.video_Qformer, self.frames.gradient or positions, queries)
        self.last = _PerToken.of([last], self.windows.gradient, True)

    def __call__(self, frame_counts: list[int], seconds: list) -> float:
        """Of encoding videos, as far as that layer."""
        cfg, queries = self.cfg, self.num_queries
        texts = [self._sentence_length(times) for times in seconds]
        total = sum(frame_counts) * self.vision.per_frame
        total += self.frames(sum(frame_counts), queries, max(texts), self.vision.tokens)
        windows = [
            (where.stop - where.start) * (queries + text * cfg.keep_timestamp_tokens)
            for count, text in zip(frame_counts, texts, strict=True)
            for where in window_slices(count, cfg.window_size, cfg.stride)
        ]
        total += self.windows(len(windows), self.num_outputs, 0, max(windows))
        return total + self.last(len(windows) * self.num_outputs)

    def _sentence_length(self, times: list[float] | None) -> int:
        """Tokens of a video's longest sentence, taken to be the last one's: it has the most digits."""
        if self.tokenizer is None or times is None:
            return 0
        return len(self.tokenizer.encode(frame_sentence(times[-1])))


class TimeChatFlops:
    """Operations of forward and backward of a TimeChat on a batch; padding counts, because it is computed."""

    def __init__(self, model: TimeChat):
        self.video = _VideoFlops(model, model.llama_proj)
        llama = lm.causal_lm(model.llama_model)
        learns = self.video.windows.gradient or _learns(model.llama_proj) or _learns(llama)
        self.decoder = _PerToken.of(llama.model.layers, learns, learns)
        self.scores = _PerToken.of([llama.lm_head], learns, learns)
        self.config, self.gradient = llama.config, learns

    def __call__(self, batch: VideoBatch) -> float:
        """The operations of a batch."""
        rows, length = batch.input_ids.shape
        supervised = int((batch.labels[:, 1:] != IGNORE_INDEX).sum())
        width = self.config.hidden_size
        total = self.video(batch.frame_counts, batch.seconds) + self.decoder(rows * length) + self.scores(supervised)
        return total + rows * self.config.num_hidden_layers * _attention(length, length, width, self.gradient)


class FrameReaderFlops:
    """Operations of forward and backward of a FrameReader on a batch."""

    def __init__(self, model: FrameReader):
        self.video = _VideoFlops(model, model.head)

    def __call__(self, batch: FrameBatch) -> float:
        """The operations of a batch."""
        return self.video(batch.frame_counts, batch.seconds)


class FrameClassifierFlops:
    """Operations of forward and backward of a FrameClassifier on a batch."""

    def __init__(self, model: FrameClassifier):
        self.per_frame = _VisionFlops(model.visual_encoder).per_frame + _PerToken.of([model.head], True, True)(1)

    def __call__(self, batch: FrameBatch) -> float:
        """The operations of a batch."""
        return len(batch.frames) * self.per_frame
