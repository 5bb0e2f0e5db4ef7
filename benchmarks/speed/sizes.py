"""Models with random weights of a size that this machine can compute, and videos and conversations for them.

Nothing is read: a folder with a decoder's config and weights, and stand-ins for both tokenizers, is written first.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from timechat.batch import VideoBatch, pad_conversations
from timechat.config import load_config
from timechat.io import write_json, write_text
from timechat.models import TimeChat, build_model
from timechat.runners.stand_ins import stand_ins
from timechat.text.conversation import encode_conversation

ANSWER = "From 1.0 to 2.0 seconds the person opens the door. "


@dataclass(frozen=True)
class Size:
    """A model and what it is given.

    Attributes:
        model: keys of the section `model`.
        llama: of the decoder's config.json.
        frames: of the videos of a batch.
        tokens: of its longest conversation, and of a prompt.
        new_tokens: of an answer.
    """

    model: dict[str, Any]
    llama: dict[str, Any]
    frames: tuple[int, ...]
    tokens: int
    new_tokens: int


_COMMON = {"vit_precision": "fp32", "freeze_qformer": False, "llama_precision": "fp32"}
MID = Size(
    model={
        **_COMMON,
        "vit": {"embed_dim": 352, "depth": 6, "num_heads": 8},
        "qformer": {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "intermediate_size": 1024,
        },
        "window_size": 8,
        "stride": 8,
    },
    llama={
        "hidden_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "intermediate_size": 1376,
        "vocab_size": 32000,
    },
    frames=(32, 16),
    tokens=600,
    new_tokens=64,
)
TINY = Size(
    model={
        **_COMMON,
        "image_size": 56,
        "vit": {"embed_dim": 32, "depth": 1, "num_heads": 2},
        "qformer": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": 64,
        },
        "num_query_token": 4,
        "num_video_query_token": 4,
        "window_size": 4,
        "stride": 4,
    },
    llama={
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 600,
    },
    frames=(8, 6),
    tokens=320,
    new_tokens=4,
)
SIZES = {"mid": MID, "tiny": TINY}


@dataclass(frozen=True)
class Bench:
    """Where a benchmark finds its model.

    Attributes:
        size: of the model.
        folder: with the decoder and the vocabularies; others may write into it.
    """

    size: Size
    folder: Path
    options: Sequence[str] = field(default_factory=tuple)

    def config(self, *options: str, datasets: dict[str, Any] | None = None) -> DictConfig:
        """The whole config; options as on a command line."""
        files = {"llama_model": str(self.folder / "llama"), "qformer_tokenizer": str(self.folder / "vocab.txt")}
        run = {"device": "cpu", "num_workers": 0, "loggers": [], "output_dir": str(self.folder / "run")}
        content = {"model": {"arch": "timechat", **self.size.model, **files}, "run": run}
        write_text(
            self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(content | {"datasets": datasets or {}}))
        )
        tokens = [f"model.max_txt_len={self.size.tokens}"]
        return load_config(self.folder / "config.yaml", [*tokens, *self.options, *options])

    def model(self, *options: str) -> TimeChat:
        """The model, in evaluation mode; always the same weights."""
        torch.manual_seed(0)
        return build_model(self.config(*options).model)

    def write(self) -> None:
        """Write decoder and vocabularies."""
        llama = self.folder / "llama"
        config = transformers.LlamaConfig(**self.size.llama, max_position_embeddings=4096, rms_norm_eps=1e-5)
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(llama)
        with stand_ins(self.config().model) as (made, _):
            shutil.copyfile(Path(made["llama_model"]) / "tokenizer.model", llama / "tokenizer.model")
            shutil.copyfile(made["qformer_tokenizer"], self.folder / "vocab.txt")


def placeholder(folder: Path) -> dict[str, Any]:
    """A `datasets` section with one sample that nobody reads, for runners that are given their batches."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    (videos / "clip.mp4").touch()
    write_json(folder / "train.json", [{"video": "clip.mp4", "QA": [{"q": "When?", "a": "Now."}]}])
    info = {"anno_dir": str(folder / "train.json"), "videos_dir": str(videos)}
    return {"clips": {"builder": "video_instruct", "build_info": info}}


def videos(counts: Sequence[int], side: int) -> tuple[list[Tensor], list[list[float]]]:
    """Random frames, uint8 [T, 3, side, side] for each count, and their seconds, two apart."""
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator) for n in counts]
    return frames, [[2.0 * number for number in range(count)] for count in counts]


def batch(model: TimeChat, counts: Sequence[int], tokens: int) -> VideoBatch:
    """Videos, and conversations about them of so many tokens; each is a little shorter than the one before.

    The last quarter of the longest is the answer, which is supervised.
    """
    frames, seconds = videos(counts, model.cfg.image_size)
    pairs = []
    for number, times in enumerate(seconds):
        encoded = encode_conversation(
            [{"q": question(model, times, tokens * 3 // 4), "a": ANSWER * (tokens // 8)}],
            times,
            model.tokenizer,
            num_video_tokens=model.num_video_tokens(len(times)),
            max_txt_len=tokens - number % 4 * tokens // 40,
        )
        pairs.append((encoded.input_ids, encoded.labels))
    return VideoBatch(torch.cat(frames), list(counts), seconds, *pad_conversations(pairs, 0))


def question(model: TimeChat, seconds: Sequence[float], tokens: int, number: int = 0) -> str:
    """A question whose prompt has about so many tokens; those of other numbers begin with other words."""
    video, text = model.num_video_tokens(len(seconds)), f"When does person {number} open the door?"
    while len(model.prompt_ids(video, seconds, text)) < tokens:
        text += " And then?"
    return text
