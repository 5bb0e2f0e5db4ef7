"""Floating-point operations of a training step.

The matrix products of the architecture are counted: forward for everything, backward for what is trained and for what
gradients pass through. A product of [n, k] and [k, m] counts 2nkm. Attention counts all pairs of tokens, as is usual
(PaLM, arXiv 2204.02311). What gradient checkpointing computes a second time does not count, because the model does not
need it.

Shapes: F frames, P ViT tokens of a frame, Q query tokens, L tokens of a timestamp sentence, B conversations, S tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from timm.models.eva import Eva
from torch import nn

from timechat.batch import VideoBatch, num_video_tokens
from timechat.models import llama as lm
from timechat.models.qformer import Layer, QFormer
from timechat.models.video_qformer import window_slices
from timechat.text.conversation import IGNORE_INDEX
from timechat.text.timestamps import frame_sentence

if TYPE_CHECKING:
    from timechat.models.timechat import TimeChat
    from timechat.models.video_encoder import VideoEncoder


@dataclass(frozen=True)
class PerToken:
    """Operations of some linear layers for each token that they read: forward and backward."""

    flops: float = 0.0

    @classmethod
    def of(cls, modules: Iterable[nn.Module], gradient_in: bool, gradient_out: bool) -> PerToken:
        """Of all linear layers in some modules.

        Args:
            gradient_in: whether something before them is trained, so that gradients pass through.
            gradient_out: whether gradients arrive at all.
        """
        layers = [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Linear)]
        passes = [1 + gradient_out * (gradient_in + layer.weight.requires_grad) for layer in layers]
        return cls(2.0 * sum(n * layer.weight.numel() for n, layer in zip(passes, layers, strict=True)))

    def __call__(self, tokens: int) -> float:
        return tokens * self.flops


def _attention(queries: int, keys: int, width: int, gradient: bool) -> float:
    """Logits and weighted sum of one attention; twice as much again in backward."""
    return 4.0 * queries * keys * width * (3 if gradient else 1)


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


class VisionFlops:
    """The frame encoder: the same for every frame."""

    def __init__(self, vit: Eva):
        learns, patches = _learns(vit), vit.patch_embed
        pixels = patches.proj.weight
        tokens = patches.num_patches + vit.num_prefix_tokens
        # Nothing is trained before the patches: their products count once forward and once for their weights.
        per_frame = 2.0 * patches.num_patches * pixels.numel() * (1 + pixels.requires_grad)
        per_frame += PerToken.of(vit.blocks, learns, learns)(tokens)
        per_frame += len(vit.blocks) * _attention(tokens, tokens, vit.embed_dim, learns)
        self.tokens, self.per_frame = tokens, per_frame


class _QFormerFlops:
    """A Q-Former, which has separate linear layers for queries, for text and for the keys that the queries attend to.

    Args:
        qformer: to be counted.
        before: whether gradients go to what the queries attend to.
        queries: whether the query tokens are trained.
    """

    def __init__(self, qformer: QFormer, before: bool, queries: bool):
        self.layers = qformer.bert.encoder.layer
        self.width = qformer.cfg.hidden_size
        self.gradient = before or queries or _learns(qformer)
        split: dict[str, list[nn.Module]] = {"all": [], "queries": [], "text": [], "keys": []}
        for layer in self.layers:
            for which, modules in _modules_by_input(cast(Layer, layer)):
                split[which] += modules
        self.per_token = {
            which: PerToken.of(modules, before if which == "keys" else self.gradient, self.gradient)
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
    """The modules of a layer by what they read."""
    yield "all", [layer.attention]
    yield "queries", [layer.intermediate_query, layer.output_query]
    if hasattr(layer, "intermediate"):
        yield "text", [layer.intermediate, layer.output]
    if hasattr(layer, "crossattention"):
        yield "queries", [layer.crossattention.self.query, layer.crossattention.output]
        yield "keys", [layer.crossattention.self.key, layer.crossattention.self.value]


class VideoFlops:
    """Operations of encoding videos, up to and including the linear layer after the video Q-Former.

    Args:
        model: which of its parts are trained decides the operations of backward.
        last: that layer.
        count_tokens: how many tokens of a video of so many frames reach it; None: all that the video Q-Former gives.
    """

    def __init__(self, model: VideoEncoder, last: nn.Linear, count_tokens: Callable[[int], int] | None = None):
        # Keeps only counts: some engines replace the weights by shards, or by nothing.
        self.cfg, self.tokenizer = model.cfg, model.timestamp_tokenizer
        self.num_queries, self.num_outputs = model.query_tokens.shape[1], model.video_query_tokens.shape[1]
        self.vision = VisionFlops(model.visual_encoder)
        seen = _learns(model.visual_encoder) or _learns(model.ln_vision)
        self.frames = _QFormerFlops(model.Qformer, seen, model.query_tokens.requires_grad)
        positions = model.video_frame_position_embedding.weight.requires_grad
        queries = model.video_query_tokens.requires_grad
        self.windows = _QFormerFlops(model.video_Qformer, self.frames.gradient or positions, queries)
        self.last = PerToken.of([last], self.windows.gradient, True)
        cfg, outputs = self.cfg, self.num_outputs
        self.count_tokens = count_tokens or (lambda n: num_video_tokens(n, cfg.stride, outputs, cfg.window_size))

    def __call__(self, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]) -> float:
        """The operations of encoding videos."""
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
        return total + self.last(sum(map(self.count_tokens, frame_counts)))

    def _sentence_length(self, times: Sequence[float] | None) -> int:
        """Tokens of a video's longest sentence, assumed to be the last one, which has the most digits."""
        if self.tokenizer is None or times is None:
            return 0
        return len(self.tokenizer.encode(frame_sentence(times[-1])))


class TimeChatFlops:
    """Operations of TimeChat's forward and backward on a batch; the conversations' padding is not computed."""

    def __init__(self, model: TimeChat):
        count_tokens = partial(type(model).count_video_tokens, model.cfg)
        self.video = VideoFlops(model, model.llama_proj, count_tokens)
        llama = lm.causal_lm(model.llama_model)
        learns = self.video.windows.gradient or _learns(model.llama_proj) or _learns(llama)
        self.decoder = PerToken.of(llama.model.layers, learns, learns)
        self.head = PerToken.of([llama.lm_head], learns, learns)
        self.config, self.gradient = llama.config, learns

    def __call__(self, batch: VideoBatch) -> float:
        """The operations of a batch."""
        lengths: list[int] = (batch.attention_mask.sum(dim=1) - 1).tolist()  # the last token predicts nothing
        supervised = int((batch.labels[:, 1:] != IGNORE_INDEX).sum())
        width, layers = self.config.hidden_size, self.config.num_hidden_layers
        total = self.video(batch.frame_counts, batch.seconds) + self.decoder(sum(lengths)) + self.head(supervised)
        return total + layers * sum(_attention(length, length, width, self.gradient) for length in lengths)
