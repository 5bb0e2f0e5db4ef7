"""TimeChat: frame encoder -> timestamp-aware Q-Former -> sliding video Q-Former -> LLaMA (Ren et al., CVPR 2024).

Shapes: B videos, T frames of one video, F frames of all videos, Q query tokens, L tokens of a timestamp sentence,
N embeddings of one video, S text tokens, D width of the Q-Formers, H width of LLaMA.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import transformers
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.batch import VideoBatch
from timechat.batch import num_video_tokens as count_video_tokens
from timechat.errors import ConfigError
from timechat.models import llama as lm
from timechat.models.checkpoints import load_configured_weights
from timechat.models.eva_vit import build_eva_vit, encode_pixels
from timechat.models.initialization import begin_at_fan_in
from timechat.models.qformer import QFormer, QFormerConfig
from timechat.models.video_qformer import encode_windows
from timechat.registry import registry
from timechat.text.conversation import IGNORE_INDEX, encode_prompt
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import MAX_TIMESTAMP_TOKENS, load_qformer_tokenizer, load_tokenizer

SYSTEM_PROMPT = "You watch videos closely and answer questions about what happens in them, and when."


@registry.register_model("timechat")
class TimeChat(nn.Module):
    """The whole model; `build_model` makes one and loads its weights.

    Args:
        cfg: the `model` section of a config, defaults filled in (`timechat/configs/models/timechat.yaml`).
        load_weights: False skips every weight file, also LLaMA's.

    Attributes:
        load_reports: what became of every key of every weight file.

    Raises:
        ConfigError: settings that cannot go together, or a folder that is not there.
    """

    def __init__(self, cfg: DictConfig, load_weights: bool = True):
        super().__init__()
        self.cfg = cfg
        self.tokenizer = load_tokenizer(cfg.llama_model)
        self._build_vision()
        self._build_qformers()
        self._build_llama(load_weights)
        if cfg.initialization == "fan_in":
            self._begin_at_fan_in()
        self._freeze()
        self.load_reports = load_configured_weights(self, cfg) if load_weights else []

    # Building ---------------------------------------------------------------------------------------------------------

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
            grad_checkpointing=cfg.use_grad_checkpoint and not cfg.freeze_vit,
        ).to(lm.resolve_precision(cfg.vit_precision))
        self.ln_vision = nn.LayerNorm(cfg.vit.embed_dim)

    def _build_qformers(self) -> None:
        cfg = self.cfg
        width, sizes = cfg.qformer.hidden_size, dict(cfg.qformer)
        if width % cfg.qformer.num_attention_heads:
            raise ConfigError(
                f"model.qformer: hidden_size={width} is no multiple of num_attention_heads="
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

    def _build_llama(self, load_weights: bool) -> None:
        cfg = self.cfg
        llama = lm.build_llama(
            cfg.llama_model,
            precision=cfg.llama_precision,
            max_txt_len=cfg.max_txt_len,
            load_weights=load_weights,
            low_resource=cfg.low_resource,
            device_8bit=cfg.device_8bit,
        )
        if lm.vocab_size(llama) < self.tokenizer.vocab_size:
            raise ConfigError(
                f"model.llama_model={cfg.llama_model}: the tokenizer has {self.tokenizer.vocab_size} ids, "
                f"the model embeds {lm.vocab_size(llama)}; they do not belong together"
            )
        llama.requires_grad_(not cfg.freeze_llama)
        if cfg.use_grad_checkpoint:
            lm.enable_grad_checkpointing(llama)
        if cfg.lora:
            llama = lm.add_lora(
                llama,
                r=cfg.lora_r,
                alpha=cfg.lora_alpha,
                dropout=cfg.lora_dropout,
                inference_mode=cfg.lora_inference_mode,
            )
            if not cfg.freeze_llama:  # peft freezes what it wraps
                llama.requires_grad_(True)
        self.llama_model = llama
        self.llama_proj = nn.Linear(cfg.qformer.hidden_size, lm.hidden_size(llama))

    def _begin_at_fan_in(self) -> None:
        """Everything but LLaMA, whose weights are in its folder."""
        for name, part in self.named_children():
            if name != "llama_model":
                begin_at_fan_in(part)
        for queries in (self.query_tokens, self.video_query_tokens):
            nn.init.normal_(queries)

    def _freeze(self) -> None:
        """Freeze the parts that the config names; queries and positions belong to their Q-Former."""
        cfg = self.cfg
        parts: list[nn.Module | nn.Parameter] = []
        if cfg.freeze_vit:
            parts += [self.visual_encoder, self.ln_vision]
        if cfg.freeze_qformer:
            parts += [self.Qformer, self.query_tokens]
        if cfg.frozen_video_Qformer:
            parts += [self.video_Qformer, self.video_query_tokens, self.video_frame_position_embedding]
        if cfg.frozen_llama_proj:
            parts += [self.llama_proj]
        for part in parts:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> TimeChat:
        """Training mode for the parts that learn; frozen parts stay in evaluation mode, without dropout."""
        super().train(mode)
        for part in self.children():
            if not any(p.requires_grad for p in part.parameters()) and not self._recomputes(part):
                part.eval()
        return self

    def _recomputes(self, part: nn.Module) -> bool:
        """Hugging Face recomputes activations in training mode alone; without LoRA, LLaMA does the same in both."""
        return part is self.llama_model and self.cfg.use_grad_checkpoint and not self.cfg.lora

    # Encoding ---------------------------------------------------------------------------------------------------------

    def num_video_tokens(self, num_frames: int) -> int:
        """How many LLaMA embeddings a video of `num_frames` frames becomes."""
        cfg = self.cfg
        return count_video_tokens(num_frames, cfg.stride, cfg.num_video_query_token, cfg.window_size)

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Videos -> LLaMA embeddings.

        Args:
            frames: [T_i, 3, H, W] each, uint8 or normalised floats.
            seconds: T_i times in seconds for each video; None for an image, which has no timestamp sentence.

        Returns:
            [N_i, H] for each video.

        Raises:
            ConfigError: a video with more frames than `model.max_frame_pos`, or with fewer or more times than frames.
        """
        device = self.query_tokens.device
        packed = torch.cat([video.to(device) for video in frames])
        return self._encode_packed(packed, [len(video) for video in frames], seconds)

    def _encode_packed(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        return [self.llama_proj(video) for video in self._encode_windows(frames, frame_counts, seconds)]

    def _encode_windows(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        """As `_encode_packed`, before the projection: [N_i, D] for each video."""
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
        pixels = encode_pixels(self.visual_encoder, frames)
        pixels = self.ln_vision(pixels.to(self.ln_vision.weight.dtype))
        input_ids, text_mask, text_lengths = self._timestamp_ids(frame_counts, seconds)
        out = self.Qformer(
            self.query_tokens.expand(len(frames), -1, -1), pixels, input_ids=input_ids, text_mask=text_mask
        )
        # A video keeps the outputs at its own padding (released weights were trained so); padding that only the
        # batch adds was masked and is dropped here.
        num_queries = self.query_tokens.shape[1]
        kept = [num_queries + length * self.cfg.keep_timestamp_tokens for length in text_lengths]
        return [video[:, :n] for video, n in zip(out.split(list(frame_counts)), kept, strict=True)]

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
        input_ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids in rows], device=device)
        mask = torch.tensor([[True] * len(ids) + [False] * (longest - len(ids)) for ids in rows], device=device)
        return input_ids, mask, lengths

    def _check_frames(self, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]) -> None:
        for count, times in zip(frame_counts, seconds, strict=True):
            if count > self.cfg.max_frame_pos:
                raise ConfigError(
                    f"a video has {count} frames, more than model.max_frame_pos={self.cfg.max_frame_pos}; raise that "
                    "key (the table of positions grows by interpolation when weights are loaded)"
                )
            if times is not None and len(times) != count:
                raise ConfigError(f"a video has {count} frames but {len(times)} times in seconds")

    # Answering --------------------------------------------------------------------------------------------------------

    def forward(self, batch: VideoBatch) -> dict[str, Tensor]:
        """The training losses of a batch.

        Returns:
            `loss`, the mean over all supervised tokens, and `sample_losses` [B], the same mean for each sample.
        """
        videos = self._encode_packed(batch.frames, batch.frame_counts, batch.seconds)
        is_video = batch.input_ids == self.tokenizer.image_token_id
        embeds = lm.embed_with_video(self.llama_model, batch.input_ids, is_video, videos)
        hidden = lm.decode(self.llama_model, embeds, batch.attention_mask)[:, :-1]
        targets = batch.labels[:, 1:]
        supervised = targets != IGNORE_INDEX
        # Scores are made where they are needed: the vocabulary is large and most positions teach nothing.
        scores = lm.logits(self.llama_model, hidden[supervised]).float()
        token_losses = F.cross_entropy(scores, targets[supervised], reduction="none")
        row = supervised.nonzero()[:, 0]
        sums = token_losses.new_zeros(len(batch)).index_add(0, row, token_losses)
        return {"loss": token_losses.mean(), "sample_losses": sums / supervised.sum(dim=1)}

    @torch.no_grad()
    def generate(
        self,
        frames: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        *,
        system: str | None = None,
        max_new_tokens: int = 512,
        **sampling: object,
    ) -> list[str]:
        """Answer one prompt about each video.

        Args:
            frames, seconds: as for `encode_video`.
            prompts: one question for each video.
            system: the system sentence; by default `model.system_prompt`, else this project's own.
            max_new_tokens: how long an answer may get.
            sampling: as for `answer`.

        Returns:
            The answers, without special tokens.
        """
        videos = self.encode_video(frames, seconds)
        return self.answer(videos, seconds, prompts, system=system, max_new_tokens=max_new_tokens, **sampling)

    @torch.no_grad()
    def answer(
        self,
        videos: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        *,
        system: str | None = None,
        max_new_tokens: int = 512,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        num_beams: int = 1,
    ) -> list[str]:
        """Answer one prompt about each video that `encode_video` has encoded; a video may appear many times.

        Greedy by default; `do_sample` draws with `temperature` and `top_p` from torch's global generator.
        """
        if not len(videos) == len(seconds) == len(prompts):
            raise ConfigError(
                f"{len(videos)} videos, {len(seconds)} lists of seconds, {len(prompts)} prompts: must agree"
            )
        system = system if system is not None else (self.cfg.system_prompt or SYSTEM_PROMPT)
        rows = [self._prompt_embeds(*row, system) for row in zip(videos, seconds, prompts, strict=True)]
        embeds, mask = lm.left_pad(rows)
        options = {"temperature": temperature, "top_p": top_p} if do_sample else {}
        config = transformers.GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            num_beams=num_beams,
            bos_token_id=self.tokenizer.bos_id,
            eos_token_id=self.tokenizer.eos_id,
            pad_token_id=self.tokenizer.pad_id,
            **options,
        )
        ids = lm.generate(self.llama_model, embeds, mask, generation_config=config)
        return [self.tokenizer.decode(row) for row in ids.tolist()]

    def _prompt_embeds(self, video: Tensor, seconds: Sequence[float] | None, prompt: str, system: str) -> Tensor:
        ids = encode_prompt(
            prompt,
            seconds,
            self.tokenizer,
            num_video_tokens=len(video),
            system=system,
            list_seconds=self.cfg.list_seconds,
        )
        input_ids = torch.tensor([ids], device=video.device)
        is_video = input_ids == self.tokenizer.image_token_id
        return lm.embed_with_video(self.llama_model, input_ids, is_video, [video])[0]
