"""The tiny golden model, its config with paths that work from any folder, and tiny annotation files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from helpers.videos import write_video
from timechat.batch import VideoBatch, pad_conversations
from timechat.composition import schema_for
from timechat.config import load_config
from timechat.io import write_text
from timechat.models import TimeChat, build_model
from timechat.text.conversation import encode_conversation

TINY = Path(__file__).parents[1] / "golden" / "tiny_model"
LLAMA, BERT, WEIGHTS = TINY / "llama", TINY / "bert", TINY / "model.pth"

# What `llama_folder` takes for the published decoder's sizes.
LLAMA_2_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}


@dataclass(frozen=True)
class Golden:
    """What the published code computed; see the files in `tests/golden/tiny_model`."""

    tensors: dict[str, Tensor]
    expected: dict[str, Any]
    conversations: list[dict[str, Any]]

    @classmethod
    def load(cls) -> Golden:
        """Read the three files."""
        return cls(
            load_file(TINY / "tensors.safetensors"),
            json.loads((TINY / "expected.json").read_text()),
            json.loads((TINY / "conversations.json").read_text()),
        )

    def videos(self, name: str = "frames") -> list[Tensor]:
        """Normalised frames [T, 3, H, W] of each video; the file keeps [B, 3, T, H, W]."""
        return list(self.tensors[name].permute(0, 2, 1, 3, 4))


def tiny_config(options: Sequence[str] = ()) -> DictConfig:
    """The whole config of the tiny model, with absolute paths; `options` as for `load_config`."""
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    return load_config(TINY / "config.yaml", [*paths, *options])


def defaults() -> DictConfig:
    """The defaults of a TimeChat, of a dataset `any` of videos, and of a run."""
    dataset = OmegaConf.create({"datasets": {"any": {"builder": "video_instruct"}}})
    return OmegaConf.create(schema_for(dataset).defaults())


def build_tiny(options: Sequence[str] = ()) -> TimeChat:
    """The tiny model; after a change of its sizes say `model.ckpt=`, because the weights do not fit then."""
    return build_model(tiny_config(options).model)


def golden_batch(golden: Golden, tokenizer: Any) -> VideoBatch:
    """The two golden conversations as a batch, made by the code under test."""
    videos, seconds = golden.videos(), golden.expected["timestamps"]
    encoded = [
        encode_conversation(qa, times, tokenizer, num_video_tokens=18, max_txt_len=2048)
        for qa, times in zip(golden.expected["conversations"], seconds, strict=True)
    ]
    ids, labels, mask = pad_conversations([(e.input_ids, e.labels) for e in encoded], 0)
    return VideoBatch(torch.cat(videos), [len(v) for v in videos], seconds, ids, labels, mask)


def llama_folder(path: Path, **config: Any) -> Path:
    """A copy of the tiny LLaMA folder in which `config.json` has some other values."""
    shutil.copytree(LLAMA, path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return path


QA = [{"q": "When does the chef cut the bread?", "a": "3.0 - 4.5 seconds."}]


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file."""
    path.write_text(json.dumps(content))
    return path


def tiny_dataset(folder: Path, names: Sequence[str] = ("a.mp4", "b.mp4"), frames: int = 20) -> dict[str, str]:
    """Gray videos and their annotations; returns `build_info`: anno_dir and videos_dir."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for name in names:
        write_video(videos / name, frames=frames)
    items = [{"video": name, "QA": QA} for name in names]
    return {"anno_dir": str(write_json(folder / "train.json", items)), "videos_dir": str(videos)}


def dataset_config(datasets: dict[str, Any], options: Sequence[str] = (), folder: Path | None = None) -> DictConfig:
    """The tiny config with a `datasets` section, loaded from a file as users do."""
    cfg = OmegaConf.merge(OmegaConf.load(TINY / "config.yaml"), {"datasets": datasets})
    file = (folder or Path(next(iter(datasets.values()))["build_info"]["videos_dir"])) / "config.yaml"
    write_text(file, OmegaConf.to_yaml(cfg))  # whole or not at all: another process of the test may be reading it
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    return load_config(file, [*paths, *options])
