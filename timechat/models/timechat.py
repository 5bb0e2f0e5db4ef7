"""TimeChat: frame encoder -> timestamp-aware Q-Former -> sliding video Q-Former -> LLaMA (Ren et al., CVPR 2024).

Shapes: B videos, T frames of one video, F frames of all videos, N embeddings of one video, S text tokens, H width of
LLaMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.batch import VideoBatch, num_video_tokens
from timechat.device import in_16_bits, precision_name
from timechat.errors import ConfigError
from timechat.models import llama as lm
from timechat.models.base import StepSize
from timechat.models.checkpoints import part_of
from timechat.models.config import TimeChatConfig, decoder_precision
from timechat.models.decoding import Prompt, decode, greedy
from timechat.models.flops import TimeChatFlops
from timechat.models.liger import use_liger
from timechat.models.llama_folder import write_llama
from timechat.models.loss import token_losses
from timechat.models.sampling import Drawing
from timechat.models.supervision import Supervision
from timechat.models.video_encoder import VideoEncoder
from timechat.models.watching import Watch, Watching
from timechat.registry import registry
from timechat.text.conversation import Turn, encode_conversation, encode_prompt
from timechat.text.tokenizers import load_tokenizer

SYSTEM_PROMPT = "You watch videos closely and answer questions about what happens in them, and when."
_UNLIMITED = 10**6  # max_txt_len of a conversation that is only counted
# Below, logits that are divided by it leave single precision; the likeliest token is drawn long before.
LEAST_TEMPERATURE = 1e-6


@registry.register_model("timechat", config=TimeChatConfig)
class TimeChat(VideoEncoder):
    """The whole model; `build_model` makes one and loads its weights.

    Args, Attributes, Raises: as for BaseModel.
    """

    # Building ---------------------------------------------------------------------------------------------------------

    def build(self, load_weights: bool) -> None:
        """Create frame encoder, Q-Formers, decoder and projection."""
        self.tokenizer = load_tokenizer(self.cfg.llama_model)
        super().build(load_weights)
        self._build_llama(load_weights)

    def _build_llama(self, load_weights: bool) -> None:
        cfg = self.cfg
        llama: nn.Module = lm.build_llama(
            cfg.llama_model,
            precision=decoder_precision(cfg),
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
            lm.enable_grad_checkpointing(llama, cfg.use_grad_checkpoint)
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

    def freeze(self) -> None:
        """As for the video encoder, and the projection; the decoder is frozen when it is created."""
        super().freeze()
        if self.cfg.frozen_llama_proj:
            self.llama_proj.requires_grad_(False)

    def _recomputes(self, part: nn.Module) -> bool:
        """Activations are recomputed only in training mode; without LoRA, LLaMA computes the same in both."""
        return part is self.llama_model and bool(self.cfg.use_grad_checkpoint) and not self.cfg.lora

    def leaves_out(self, name: str) -> bool:
        """The ViT's last block, and the text path without text."""
        return self._encoder_leaves_out(name)

    # Encoding ---------------------------------------------------------------------------------------------------------

    @classmethod
    def count_video_tokens(cls, cfg: DictConfig, num_frames: int) -> int:
        """How many embeddings of LLaMA a video of `num_frames` frames becomes (paper, section 3.2)."""
        return num_video_tokens(num_frames, cfg.stride, cfg.num_video_query_token, cfg.window_size)

    def num_video_tokens(self, num_frames: int) -> int:
        """How many LLaMA embeddings a video of `num_frames` frames becomes."""
        return self.count_video_tokens(self.cfg, num_frames)

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Videos -> LLaMA embeddings; on GPUs all of it computes in the precision of the ViT, as in the published code.

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
        with in_16_bits(device, next(self.visual_encoder.parameters()).dtype):
            return self._encode_packed(packed, [len(video) for video in frames], seconds)

    def _encode_packed(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        return [self.llama_proj(video) for video in self.video_tokens(frames, frame_counts, seconds)]

    # Learning ---------------------------------------------------------------------------------------------------------

    def forward(self, batch: VideoBatch) -> dict[str, Tensor]:
        """The training losses of a batch.

        Returns:
            `loss`, the mean over all supervised tokens; `sample_losses` [B], the same mean for each sample; and in
            evaluation mode `sample_exact` [B], 1 where every supervised token is the most likely one, given those
            before it.
        """
        text = Supervision.of(batch, self.tokenizer.image_token_id)
        videos = self._encode_packed(batch.frames, batch.frame_counts, batch.seconds)
        embeds = self._embed(batch, videos, text.places)
        rows = [row[:length] for row, length in zip(embeds, text.lengths, strict=True)]
        hidden = torch.cat(lm.hidden_states(self.llama_model, rows))
        # Only supervised positions get logits: the vocabulary is large and most positions are not supervised.
        token_losses, hits = self._token_losses(hidden[text.index], text.targets)
        sums = token_losses.new_zeros(len(batch)).index_add(0, text.rows, token_losses)
        out = {"loss": token_losses.mean(), "sample_losses": sums / text.counts}
        if hits is not None:
            right = torch.zeros_like(text.counts).index_add(0, text.rows, hits.to(text.counts.dtype))
            out["sample_exact"] = (right == text.counts).float()
        return out

    def _token_losses(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states [N, H] and the ids [N] that should follow -> losses [N]; in evaluation mode also which are the
        likeliest."""
        head = lm.causal_lm(self.llama_model).lm_head
        return token_losses(head, hidden, targets, lm.vocab_size(self.llama_model), find_hits=not self.training)

    def _embed(self, batch: VideoBatch, videos: Sequence[Tensor], places: Sequence[int]) -> Tensor:
        """Token embeddings [B, S, H], with the videos' embeddings in their places, of which each row has `places`.

        Text alone has a blank picture and no place for it. The picture counts with the factor 0, so that every
        parameter has a gradient on every process, whatever samples it has.
        """
        alone = [seconds is None and not count for seconds, count in zip(batch.seconds, places, strict=True)]
        kept = [video[:0] if text else video for video, text in zip(videos, alone, strict=True)]
        is_video = batch.input_ids == self.tokenizer.image_token_id
        embeds = lm.embed_with_video(self.llama_model, batch.input_ids, is_video, kept, places)
        unused = [video.sum() for video, text in zip(videos, alone, strict=True) if text]
        return embeds + 0.0 * torch.stack(unused).sum().to(embeds.dtype) if unused else embeds

    # Answering --------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(
        self,
        frames: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        *,
        system: str | None = None,
        max_new_tokens: int = 512,
        **sampling: Any,
    ) -> list[str]:
        """Answer one prompt about each video.

        Args:
            frames, seconds: as for `encode_video`.
            prompts: one question for each video.
            system: the system sentence; by default `model.system_prompt`, or this project's sentence if that is empty.
            max_new_tokens: longest answer, in tokens.
            sampling: as for `answer`.

        Returns:
            The answers, without special tokens.
        """
        videos = self.encode_video(frames, seconds)
        return self.answer(videos, seconds, prompts, system=system, max_new_tokens=max_new_tokens, **sampling)

    @torch.inference_mode()
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
        histories: Sequence[Sequence[Turn]] | None = None,
        watch: Watch | None = None,
    ) -> list[str]:
        """Answer one prompt about each video encoded by `encode_video`; a video may appear several times.

        Greedy by default; `do_sample` draws with `temperature` and `top_p` from torch's global generator.

        Args:
            videos, seconds, prompts: one of each for every answer.
            system, max_new_tokens: as for `generate`.
            do_sample, temperature, top_p, num_beams: how tokens are chosen.
            histories: what was asked and answered before each prompt, oldest first.
            watch: sees the answers after each token, and may end them; not with beams.

        Returns:
            The answers, without special tokens; one that was ended by `watch` is what was there by then.

        Raises:
            ConfigError: as many videos, seconds, prompts and histories are needed; or beams are to be watched.
        """
        histories = [()] * len(videos) if histories is None else histories
        if not len(videos) == len(seconds) == len(prompts) == len(histories):
            raise ConfigError(
                f"{len(videos)} videos, {len(seconds)} lists of seconds, {len(prompts)} prompts, {len(histories)} "
                "histories: must agree"
            )
        if watch and num_beams > 1:
            raise ConfigError(f"num_beams={num_beams}: the words of a beam may still change, so none can be watched")
        if 0 < temperature < LEAST_TEMPERATURE:
            temperature = LEAST_TEMPERATURE
        read = [self._prompt(*row, system) for row in zip(videos, seconds, prompts, histories, strict=True)]
        if num_beams > 1:
            drawn = {"temperature": temperature, "top_p": top_p} if do_sample else {}
            ids = self._search(read, max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=do_sample, **drawn)
        else:
            ids = decode(
                self.llama_model,
                read,
                max_new_tokens=max_new_tokens,
                end=self.tokenizer.eos_id,
                choose=Drawing(len(read), temperature, top_p) if do_sample else greedy,
                enough=Watching(watch, self.tokenizer) if watch else None,
            )
        return [self.tokenizer.decode(row) for row in ids]

    def prompt_ids(
        self,
        num_video_tokens: int,
        seconds: Sequence[float] | None,
        prompt: str,
        history: Sequence[Turn] = (),
        system: str | None = None,
    ) -> list[int]:
        """The ids that the decoder reads before an answer; arguments as of `answer`, for one of its rows."""
        return encode_prompt(
            prompt,
            seconds,
            self.tokenizer,
            num_video_tokens=num_video_tokens,
            system=system if system is not None else (self.cfg.system_prompt or SYSTEM_PROMPT),
            list_seconds=self.cfg.list_seconds,
            history=history,
        )

    def _prompt(
        self, video: Tensor, seconds: Sequence[float] | None, prompt: str, history: Sequence[Turn], system: str | None
    ) -> Prompt:
        ids = self.prompt_ids(len(video), seconds, prompt, history, system)
        input_ids = torch.tensor([ids], device=video.device)
        is_video = input_ids == self.tokenizer.image_token_id
        places = [ids.count(self.tokenizer.image_token_id)]
        embeds = lm.embed_with_video(self.llama_model, input_ids, is_video, [video], places)[0]
        return Prompt(ids, embeds, about=id(video))

    def _search(self, prompts: Sequence[Prompt], **options: Any) -> list[list[int]]:
        """New ids of each prompt by beam search; `options` are those of Hugging Face."""
        config = transformers.GenerationConfig(
            bos_token_id=self.tokenizer.bos_id,
            eos_token_id=self.tokenizer.eos_id,
            pad_token_id=self.tokenizer.pad_id,
            **options,
        )
        embeds, mask = lm.left_pad([prompt.embeds for prompt in prompts])
        return lm.generate(self.llama_model, embeds, mask, generation_config=config).tolist()

    # Saving -----------------------------------------------------------------------------------------------------------

    def write_files(self, folder: Path) -> dict[str, Any]:
        """As above, and the decoder without LoRA, with its tokenizer."""
        llama, source = lm.causal_lm(self.llama_model), Path(self.cfg.llama_model)
        # The source's own config: this one's RoPE scaling follows from max_txt_len.
        write_llama(llama, lm.read_config(source), source, folder / "llama")
        precision = precision_name(llama.dtype)
        own = {"llama_model": Path("llama"), "llama_precision": precision}
        if precision != "fp32":
            own["freeze_llama"] = True  # in 16 bits it cannot learn
        return super().write_files(folder) | own

    def is_in_files(self, name: str) -> bool:
        """The decoder below LoRA."""
        return part_of(name) == "llama_model"

    # What the dry run, the logs, run.compile and run.liger ask --------------------------------------------------------

    def layers_to_compile(self) -> Iterator[nn.Module]:
        """As for the video encoder, and the decoder's."""
        yield from super().layers_to_compile()
        yield from lm.causal_lm(self.llama_model).model.layers

    def use_liger(self) -> None:
        """As above, in LLaMA's layers."""
        use_liger(self.llama_model)

    def token_counts(self, seconds: Sequence[float]) -> dict[str, int]:
        """Tokens of the longest timestamp sentence, of the video, and of everything before question and answer."""
        video = self.num_video_tokens(len(seconds))
        conversation = encode_conversation(
            [{"q": "", "a": ""}],
            seconds,
            self.tokenizer,
            num_video_tokens=video,
            max_txt_len=_UNLIMITED,
            list_seconds=self.cfg.list_seconds,
        )
        sentence = {"timestamp sentence": self.longest_sentence(seconds)} if self.timestamp_tokenizer else {}
        return {**sentence, "video": video, "prompt": len(conversation.input_ids)}

    def flop_counter(self) -> Callable[[VideoBatch], float]:
        """A function that counts the matrix products of forward and backward."""
        return TimeChatFlops(self)

    def rehearse(self, size: StepSize) -> Tensor:
        """The forward pass without the operations that depend on values."""
        side = self.cfg.image_size
        frames = torch.empty(size.videos, size.frames, 3, side, side, dtype=torch.uint8)
        seconds = [[float(second) for second in range(size.frames)]] * size.videos
        videos = torch.stack(self.encode_video(list(frames), seconds))
        llama = lm.causal_lm(self.llama_model)
        text = llama.model.embed_tokens(torch.zeros(size.videos, size.tokens - videos.shape[1], dtype=torch.long))
        embeds = torch.cat([videos.to(text.dtype), text], dim=1)
        hidden = [row[-size.supervised :] for row in lm.hidden_states(self.llama_model, list(embeds))]
        supervised = torch.cat(hidden)
        losses, _ = self._token_losses(supervised, torch.zeros(len(supervised), dtype=torch.long))
        return losses.mean()
