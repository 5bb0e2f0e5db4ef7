"""From frames to video tokens: frame encoder -> timestamp-aware Q-Former -> sliding video Q-Former.

Shapes: T frames of one video, F frames of all videos, Q query tokens, L tokens of a timestamp sentence, N tokens of one
video, D width of the Q-Formers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timechat.device import precision_name, resolve_dtype, send
from timechat.errors import ConfigError
from timechat.models.base import BaseModel
from timechat.models.checkpoints import DECODER_PARTS, encoder_leaves_out, part_of
from timechat.models.chunks import chunk_slices, default_chunk, takes_chunks
from timechat.models.eva_vit import build_eva_vit, encode_pixels, widest_activation
from timechat.models.qformer import QFormer, QFormerConfig
from timechat.models.recomputing import recompute
from timechat.models.video_qformer import encode_windows
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import MAX_TIMESTAMP_TOKENS, load_qformer_tokenizer


class VideoEncoder(BaseModel):
    """TimeChat up to the video Q-Former; TimeChat adds projection and decoder, other models another head.

    Args, Attributes, Raises: as for BaseModel.
    """

    def build(self, load_weights: bool) -> None:
        """Create the frame encoder and both Q-Formers."""
        self._build_vision()
        self._build_qformers()

    def _build_vision(self) -> None:
        cfg = self.cfg
        if not cfg.freeze_vit and cfg.vit_precision != "fp32":
            raise ConfigError(
                f"model.freeze_vit=false trains the ViT: set model.vit_precision=fp32, not {cfg.vit_precision}"
            )
        self.visual_encoder = build_eva_vit(
            image_size=cfg.image_size,
            **cfg.vit,
            drop_path_rate=cfg.drop_path_rate,
            grad_checkpointing=False if cfg.freeze_vit else cfg.use_grad_checkpoint,
        ).to(resolve_dtype(cfg.vit_precision))
        self.ln_vision = nn.LayerNorm(cfg.vit.embed_dim)

    def _build_qformers(self) -> None:
        cfg = self.cfg
        width, sizes = cfg.qformer.hidden_size, dict(cfg.qformer)
        if width % cfg.qformer.num_attention_heads:
            raise ConfigError(
                f"model.qformer: hidden_size={width} is not a multiple of num_attention_heads="
                f"{cfg.qformer.num_attention_heads}"
            )
        self.Qformer = QFormer(
            QFormerConfig(**sizes, encoder_width=cfg.vit.embed_dim, text_input=cfg.qformer_text_input)
        )
        self.query_tokens = nn.Parameter(torch.empty(1, cfg.num_query_token, width).normal_(std=0.02))
        self.timestamp_tokenizer = load_qformer_tokenizer(cfg.qformer_tokenizer) if cfg.qformer_text_input else None
        if self.timestamp_tokenizer and self.timestamp_tokenizer.vocab_size > cfg.qformer.vocab_size:
            raise ConfigError(
                f"model.qformer.vocab_size={cfg.qformer.vocab_size} is too small for the tokenizer "
                f"{cfg.qformer_tokenizer}, which needs {self.timestamp_tokenizer.vocab_size}"
            )
        if self.timestamp_tokenizer and cfg.qformer.max_position_embeddings < MAX_TIMESTAMP_TOKENS:
            raise ConfigError(
                f"model.qformer.max_position_embeddings={cfg.qformer.max_position_embeddings} is too small: "
                f"a timestamp sentence may have {MAX_TIMESTAMP_TOKENS} ids"
            )
        sizes |= {"num_hidden_layers": cfg.fusion_head_layers, "encoder_width": width, "cross_attention_frequency": 1}
        self.video_Qformer = QFormer(QFormerConfig(**sizes, text_input=False))
        self.video_query_tokens = nn.Parameter(torch.empty(1, cfg.num_video_query_token, width).normal_(std=0.02))
        self.video_frame_position_embedding = nn.Embedding(cfg.max_frame_pos, width)
        for qformer in (self.Qformer, self.video_Qformer):
            recompute(qformer.bert.encoder.layer, cfg.use_grad_checkpoint)

    def freeze(self) -> None:
        """Freeze the parts that the config names; queries and positions belong to their Q-Former."""
        cfg = self.cfg
        parts: list[nn.Module | nn.Parameter] = []
        if cfg.freeze_vit:
            parts += [self.visual_encoder, self.ln_vision]
        if cfg.freeze_qformer:
            parts += [self.Qformer, self.query_tokens]
        if cfg.frozen_video_Qformer:
            parts += [self.video_Qformer, self.video_query_tokens, self.video_frame_position_embedding]
        for part in parts:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> VideoEncoder:
        """Training mode for trainable parts; frozen parts stay in evaluation mode, without dropout."""
        super().train(mode)
        for part in self.children():
            if not any(p.requires_grad for p in part.parameters()) and not self._recomputes(part):
                part.eval()
        return self

    def _recomputes(self, part: nn.Module) -> bool:
        """Whether a frozen part needs training mode to recompute its activations."""
        return False

    def leaves_out(self, name: str) -> bool:
        """The decoder, for models without one, the ViT's last block, and the text path without text."""
        return part_of(name) in DECODER_PARTS or self._encoder_leaves_out(name)

    def _encoder_leaves_out(self, name: str) -> bool:
        return encoder_leaves_out(name, len(self.visual_encoder.blocks), self.cfg.qformer_text_input)

    # Encoding ---------------------------------------------------------------------------------------------------------

    def video_tokens(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        """Videos -> the video Q-Former's tokens.

        Args:
            frames: [F, 3, H, W], uint8 or normalised floats, the frames of all videos one after the other.
            frame_counts: T_i for each video.
            seconds: T_i times in seconds for each video; None for an image, which has no timestamp sentence.

        Returns:
            [N_i, D] for each video.

        Raises:
            ConfigError: a video with more frames than `model.max_frame_pos`, or with fewer or more times than frames.
        """
        self._check_frames(frame_counts, seconds)
        videos = self._encode_frames(frames, frame_counts, seconds)
        positions = self.video_frame_position_embedding.weight[:, None]
        videos = [video + positions[: len(video)] for video in videos]
        return encode_windows(
            self.video_Qformer,
            self.video_query_tokens,
            videos,
            window_size=self.cfg.window_size,
            stride=self.cfg.stride,
        )

    def _encode_frames(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        """Frames [F, 3, H, W] -> tokens of each frame, [T_i, Q + L_i, D] for each video (paper, section 3.1)."""
        input_ids, text_mask, text_lengths = self._timestamp_ids(frame_counts, seconds)
        out = self._frame_tokens(frames, input_ids, text_mask)
        # A video keeps the outputs at its own padding (released weights were trained that way); padding that only the
        # batch adds was masked and is dropped here.
        num_queries = self.query_tokens.shape[1]
        kept = [num_queries + length * self.cfg.keep_timestamp_tokens for length in text_lengths]
        return [video[:, :n] for video, n in zip(out.split(list(frame_counts)), kept, strict=True)]

    def _frame_tokens(self, frames: Tensor, input_ids: Tensor | None, text_mask: Tensor | None) -> Tensor:
        """Frames [F, 3, H, W] with their sentences' ids and mask [F, L] -> [F, Q + L, D].

        Frames pass in chunks through what learns nothing: through ViT and Q-Former, or through the ViT alone.
        """
        all_frames = slice(0, len(frames))

        def asked(pixels: Tensor, its: slice) -> Tensor:
            ids, mask = (None if text is None else text[its] for text in (input_ids, text_mask))
            return self.Qformer(self.query_tokens.expand(len(pixels), -1, -1), pixels, input_ids=ids, text_mask=mask)

        if not takes_chunks(self.visual_encoder, self.ln_vision):
            return asked(self._see(frames), all_frames)
        both = takes_chunks(self.Qformer, self.query_tokens)
        chunk = self.cfg.vit_chunk or default_chunk(widest_activation(self.visual_encoder), frames.device)
        chunks = chunk_slices(len(frames), chunk)
        with torch.no_grad():
            if both:
                return torch.cat([asked(_for_autocast(self._see(frames[its])), its) for its in chunks])
            pixels = torch.cat([_for_autocast(self._see(frames[its])) for its in chunks])
        return asked(pixels, all_frames)

    def _see(self, frames: Tensor) -> Tensor:
        """Frames [F, 3, H, W] -> the ViT's tokens of each, normalised."""
        pixels = encode_pixels(self.visual_encoder, frames)
        return self.ln_vision(pixels.to(self.ln_vision.weight.dtype))

    def _timestamp_ids(
        self, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> tuple[Tensor | None, Tensor | None, list[int]]:
        """Ids [F, L] and bool mask [F, L] of the frames' timestamp sentences, and L_i of each video (0: none)."""
        if self.timestamp_tokenizer is None:
            return None, None, [0] * len(frame_counts)
        encode = self.timestamp_tokenizer.encode
        sentences = [[] if times is None else [encode(frame_sentence(t)) for t in times] for times in seconds]
        lengths = [max(map(len, video), default=0) for video in sentences]
        if max(lengths) == 0:
            return None, None, lengths
        rows = [ids for video, count in zip(sentences, frame_counts, strict=True) for ids in video or [[]] * count]
        longest, pad = max(lengths), self.timestamp_tokenizer.pad_id
        device = self.query_tokens.device
        padded = torch.tensor([ids + [pad] * (longest - len(ids)) for ids in rows])
        mask = torch.arange(longest) < torch.tensor([len(ids) for ids in rows])[:, None]
        return send(padded, device), send(mask, device), lengths

    def _check_frames(self, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]) -> None:
        for count, times in zip(frame_counts, seconds, strict=True):
            if count > self.cfg.max_frame_pos:
                raise ConfigError(
                    f"a video has {count} frames, more than model.max_frame_pos={self.cfg.max_frame_pos}; raise that "
                    "key (the table of positions grows by interpolation when weights are loaded)"
                )
            if times is not None and len(times) != count:
                raise ConfigError(f"a video has {count} frames but {len(times)} times in seconds")

    # Saving -----------------------------------------------------------------------------------------------------------

    def write_files(self, folder: Path) -> dict[str, Any]:
        """The vocabulary of timestamp sentences; and the precision of the ViT, which `auto` leaves to a machine."""
        tokenizer: str | Path = ""
        if self.timestamp_tokenizer is not None:
            tokenizer = Path("qformer_tokenizer")
            self.timestamp_tokenizer.save(folder / tokenizer)
        precision = precision_name(next(self.visual_encoder.parameters()).dtype)
        return {"qformer_tokenizer": tokenizer, "vit_precision": precision}

    # What the dry run, the logs and run.compile ask -------------------------------------------------------------------

    def layers_to_compile(self) -> Iterator[nn.Module]:
        """The ViT's blocks, and the layers of both Q-Formers."""
        yield from self.visual_encoder.blocks
        yield from self.Qformer.bert.encoder.layer
        yield from self.video_Qformer.bert.encoder.layer

    def longest_sentence(self, seconds: Sequence[float]) -> int:
        """Tokens of the longest timestamp sentence; 0 without sentences."""
        if self.timestamp_tokenizer is None:
            return 0
        return max(len(self.timestamp_tokenizer.encode(frame_sentence(second))) for second in seconds)


def _for_autocast(tokens: Tensor) -> Tensor:
    """Tokens in the precision of autocast, if that is on: cast once, not by the keys and the values of every layer."""
    kind = tokens.device.type
    return tokens.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tokens
