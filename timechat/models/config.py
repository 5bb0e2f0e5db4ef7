"""Every key of the section `model` of a TimeChat, with its default: the published sizes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.schema import Section, key, section

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
VIDEO_READERS = ("auto", "decord", "pyav")


@dataclass
class ViTConfig(Section):
    """Sizes of the frame encoder."""

    embed_dim: int = key(1408, "width", least=1)
    depth: int = key(39, "blocks", least=1)
    num_heads: int = key(16, "attention heads", least=1)


@dataclass
class QFormerSizes(Section):
    """Sizes of the frame Q-Former; the video Q-Former has the same, except for its depth."""

    hidden_size: int = key(768, "width", least=1)
    num_hidden_layers: int = key(12, "layers; every second one cross-attends to the frame", least=1)
    num_attention_heads: int = key(12, "attention heads", least=1)
    intermediate_size: int = key(3072, "width of the feed-forward layers", least=1)
    vocab_size: int = key(30523, "of the timestamp sentences: BERT's and [DEC]", least=1)
    max_position_embeddings: int = key(512, "longest sentence, tokens", least=1)
    hidden_dropout_prob: float = key(0.1, "dropout", least=0, below=1)
    attention_probs_dropout_prob: float = key(0.1, "dropout of attention weights", least=0, below=1)


@dataclass
class VideoEncoderConfig(Section):
    """From frames to the video Q-Former's tokens."""

    arch: str = key("timechat", "a registered model")
    model_type: str = key(
        "pretrain_llama_v2", "the only one that works; the published pretrain_vicuna has no timestamps and is an error"
    )

    vit_model: str = key(
        "",
        'eva_vit_g.pth; eva_clip_g finds it below ckpt/; "" = random',
        heading="Frame encoder: EVA ViT-g without its last block",
        file=True,
        may_change=True,
    )
    vit: ViTConfig = section(ViTConfig)
    image_size: int = key(224, "side of a frame, pixels", least=1)
    video_reader: str = key(
        "auto",
        "auto (decord where it is proven right, else PyAV) | decord (files that it reads wrong are errors) | pyav",
        choices=VIDEO_READERS,
    )
    video_timeout_s: float | None = key(
        120.0,
        "seconds that opening a video, or decoding frames of it, may take; null = no limit, nor a process of its own",
        least=1,
        may_change=True,
    )
    looks_dir: str | None = key(
        None,
        'folder that keeps what a look at a video\'s packets found, 1 kB each; "" = none, null = timechat/looks in the '
        "user's folder for caches (a dataset's cache_dir has its own)",
        may_change=True,
    )
    vit_precision: str = key("fp16", "fp16 | bf16 | fp32 | auto", choices=PRECISIONS)
    vit_chunk: int | None = key(
        None,
        "frames that a frozen ViT encodes at a time; null = what fits the cache of a CPU or fills a GPU",
        least=1,
        may_change=True,
    )
    drop_path_rate: float = key(0.0, "stochastic depth", least=0, below=1)
    freeze_vit: bool = key(True, "also freezes ln_vision")

    q_former_model: str = key(
        "", "instruct_blip_vicuna7b_trimmed.pth", heading="Timestamp-aware frame Q-Former", file=True, may_change=True
    )
    qformer: QFormerSizes = section(QFormerSizes)
    num_query_token: int = key(32, "query tokens of a frame", least=1)
    qformer_text_input: bool = key(True, "false: no timestamp sentence with each frame")
    qformer_tokenizer: str = key(
        "bert-base-uncased",
        "folder, vocab.txt, or hub id; ckpt/bert-base-uncased is tried first",
        file=True,
        may_change=True,
    )
    keep_timestamp_tokens: bool = key(
        True, "the video Q-Former also gets the timestamp sentence's outputs, as in the released weights"
    )
    freeze_qformer: bool = key(True, "also freezes its query tokens")

    num_video_query_token: int = key(32, "query tokens of a window", least=1, heading="Sliding video Q-Former")
    fusion_head_layers: int = key(2, "layers of the video Q-Former", least=1)
    max_frame_pos: int = key(96, "size of the table of frame positions", least=1)
    num_frm: int | None = key(None, "frames sampled from a video; null = max_frame_pos", least=1)
    fps: float | None = key(
        None, "samples so many frames a second, up to max_frame_pos, instead of a fixed number; null = num_frm", least=0
    )
    window_size: int = key(32, "frames; 0 = one window over the whole video", least=0)
    stride: int = key(32, "frames from the start of one window to the start of the next; 0 without windows", least=0)
    frozen_video_Qformer: bool = key(False, "also freezes its query tokens and the frame positions")

    use_grad_checkpoint: bool | int = key(
        False,
        "recompute activations in backward, to save memory: true = all layers of LLaMA, the Q-Formers and a ViT that "
        "learns; a number = so many of each",
        least=0,
        may_change=True,
    )

    ckpt: str = key(
        "",
        "a checkpoint of all parts",
        heading="Whole checkpoints, loaded last; later ones win",
        file=True,
        may_change=True,
    )
    ckpt_2: str = key("", "a second one", file=True, may_change=True)
    allow_unexpected: bool = key(False, "warn about unexpected keys in a checkpoint instead of stopping")

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """Published values that do not work, more frames than positions, and frames by number and by rate at once."""
        if section.model_type != "pretrain_llama_v2":
            yield (
                f"{where}.model_type={section.model_type}: only pretrain_llama_v2 works; the published code cannot put "
                "timestamps into Vicuna's template either"
            )
        if section.num_frm and section.num_frm > section.max_frame_pos:
            yield (
                f"{where}.num_frm={section.num_frm} is more than {where}.max_frame_pos={section.max_frame_pos}; raise "
                "the latter"
            )
        if section.fps is not None and section.num_frm:
            yield (
                f"{where}.fps={section.fps} samples frames by rate, {where}.num_frm={section.num_frm} a fixed number: "
                f"set one of them; {where}.max_frame_pos bounds the number at a rate"
            )
        if section.fps == 0:
            yield f"{where}.fps=0: give frames per second above 0, or null for a fixed number"
        if section.window_size and not section.stride:
            yield (
                f"{where}.stride=0 never moves the windows of {where}.window_size={section.window_size}; set it to "
                f"1 or more, or {where}.window_size=0 for one window over the whole video"
            )
        if 0 < section.window_size < section.stride:
            logger.warning(
                "%s.stride=%d is more than %s.window_size=%d: the frames between two windows are never seen",
                where, section.stride, where, section.window_size,
            )  # fmt: skip


@dataclass
class TimeChatConfig(VideoEncoderConfig):
    """The whole model."""

    llama_proj_model: str = key(
        "",
        "a checkpoint of which only the projection is used, loaded after all others",
        heading="Projection and decoder",
        file=True,
        may_change=True,
    )
    frozen_llama_proj: bool = key(False, "freezes the projection")
    llama_model: str = key("", "Hugging Face LLaMA folder with tokenizer.model", file=True, may_change=True)
    llama_precision: str = key(
        "auto",
        "auto (bf16, fp16 on GPUs without it; fp32 with freeze_llama: false) | bf16 | fp16 | fp32",
        choices=PRECISIONS,
    )
    freeze_llama: bool = key(True, "false trains the whole decoder, in fp32: 16 bytes for each of its weights")
    low_resource: bool = key(False, "LLaMA in 8 bits, on a GPU")
    device_8bit: int = key(0, "GPU for low_resource", least=0, may_change=True)
    lora: bool = key(True, "low-rank adapters in LLaMA's attention")
    lora_r: int = key(32, "rank of the adapters", least=1)
    lora_alpha: int = key(32, "the adapters are scaled by lora_alpha / lora_r")
    lora_dropout: float = key(0.1, "dropout before the adapters", least=0, below=1)
    lora_inference_mode: bool = key(False, "true freezes the adapters")
    max_txt_len: int = key(2048, "longest conversation, in tokens; above 2048, RoPE is scaled by 2", least=1)

    list_seconds: bool = key(True, "the prompt lists the times of all frames, as in the published code", heading="Text")
    system_prompt: str = key("", 'for generation; "" = this project\'s own sentence')
    prompt_path: str = key("", "must stay empty: random prompts cannot be combined with timestamps", file=True)

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """As for the video encoder; also random prompts, and 8-bit weights that should be trained."""
        yield from super().conflicts(where, section, cfg)
        if section.prompt_path:
            yield (
                f"{where}.prompt_path={section.prompt_path}: must be empty; the published code cannot combine random "
                "prompts with timestamps either"
            )
        if not section.freeze_llama and section.llama_precision in ("bf16", "fp16"):
            yield (
                f"{where}.llama_precision={section.llama_precision} with {where}.freeze_llama=false: steps are smaller "
                "than what 16 bits can add to a weight, so weights that learn are fp32 (16 bytes each, with gradient "
                f"and AdamW's moments; --dry-run adds them up). Set {where}.llama_precision=auto or fp32, or "
                f"{where}.freeze_llama=true if the decoder only answers or learns through LoRA"
            )
        if section.low_resource and not section.freeze_llama:
            yield (
                f"{where}.low_resource=true holds LLaMA in 8 bits, which cannot be trained: set "
                f"{where}.freeze_llama=true"
            )


def decoder_precision(section: DictConfig) -> str:
    """What `model.llama_precision` stands for: a decoder that learns whole is fp32, as all that learns."""
    return "fp32" if section.llama_precision == "auto" and not section.freeze_llama else section.llama_precision
