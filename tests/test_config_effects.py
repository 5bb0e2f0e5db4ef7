"""Every accepted key changes something or is in NO_OP_KEYS: the keys of `model` and of an entry of `datasets`.

For each key the tables hold another value; what a tiny model (or a dataset) does with it must differ from what it does
without. The keys of `run` have their own table in `runners/test_run_keys.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from helpers.timed_videos import OPEN
from helpers.tiny import BERT, QA, TINY, build_tiny, dataset_config, defaults, tiny_dataset, write_json
from helpers.videos import write_video
from omegaconf import DictConfig, OmegaConf

from timechat.batch import VideoBatch, pad_conversations
from timechat.config import is_no_op
from timechat.datasets import build_datasets, validation_config
from timechat.datasets.readers import guard
from timechat.errors import TimeChatError
from timechat.models import TimeChat
from timechat.runners import build_runner
from timechat.text.conversation import encode_conversation

# Another value for each key, or (another value, what else is set in both).
MODEL: dict[str, Any] = {
    "arch": "timechatt",
    "model_type": "pretrain_vicuna",
    "vit_model": "missing.pth",
    "vit.embed_dim": 96,
    "vit.depth": 2,
    "vit.num_heads": 2,
    "image_size": 28,
    "vit_precision": "bf16",
    "vit_chunk": 2,
    "drop_path_rate": (0.9, ["freeze_vit=false"]),
    "freeze_vit": False,
    "q_former_model": "missing.pth",
    "qformer.hidden_size": 64,
    "qformer.num_hidden_layers": 3,
    "qformer.num_attention_heads": 2,
    "qformer.intermediate_size": 80,
    "qformer.vocab_size": 100,
    "qformer.max_position_embeddings": 70,
    "qformer.hidden_dropout_prob": 0.5,
    "qformer.attention_probs_dropout_prob": 0.5,
    "num_query_token": 4,
    "qformer_text_input": False,
    "qformer_tokenizer": "other_vocab.txt",
    "keep_timestamp_tokens": False,
    "freeze_qformer": True,
    "num_video_query_token": 3,
    "fusion_head_layers": 1,
    "max_frame_pos": 8,
    "window_size": 2,
    "stride": 2,
    "frozen_video_Qformer": True,
    "llama_proj_model": "missing.pth",
    "frozen_llama_proj": True,
    "llama_model": "missing",
    "llama_precision": "bf16",
    "freeze_llama": False,
    "low_resource": True,
    "device_8bit": (1, ["low_resource=true"]),
    "lora": False,
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.5,
    "lora_inference_mode": True,
    "list_seconds": False,
    "max_txt_len": 4096,
    "use_grad_checkpoint": True,
    "ckpt": "missing.pth",
    "ckpt_2": "missing.pth",
    "allow_unexpected": (True, ["ckpt=unexpected.pth"]),
    "system_prompt": "Look.",
    "prompt_path": "prompts.txt",
}

# Keys of `model` that only data looks at.
MODEL_OF_DATASETS: dict[str, Any] = {"num_frm": 5, "fps": 2.0}

# Keys of `model` about reading videos.
MODEL_OF_READERS: dict[str, Any] = {"video_reader": "decord", "video_timeout_s": "null", "looks_dir": "''"}

DATASET: dict[str, Any] = {
    "builder": "caption",
    "data_type": "images",
    "build_info.anno_dir": "other.json",
    "build_info.videos_dir": "elsewhere",
    "build_info.manifest": "missing.json",
    "vis_processor.train.name": "alpro_video_eval",
    "vis_processor.train.n_frms": 5,
    "vis_processor.train.image_size": 28,
    "sample_type": "rand",
    "cache_dir": "cache",
    "vis_processor.train.min_scale": 1.0,
    "vis_processor.train.max_scale": 0.5,
    "num_frm": 5,
    "num_video_query_token": 5,
    "stride": 2,
    "max_txt_len": 100,
    "tokenizer_name": "elsewhere",
    "model_type": "vicuna",
}

# Keys of a dataset that only the training loop looks at.
DATASET_OF_RUNNER: dict[str, Any] = {"sample_ratio": 9.0}

# Keys of a dataset that say where its validation data is.
DATASET_OF_VALIDATION: dict[str, Any] = {
    "build_info.valid_anno_dir": "other.json",
    "build_info.valid_videos_dir": ("elsewhere", ["build_info.valid_anno_dir"]),
}


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys that are not sections."""
    for key, value in cfg.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, DictConfig) else [f"{prefix}{key}"]


@pytest.mark.parametrize(
    ("section", "tables"),
    [
        ("model", (MODEL, MODEL_OF_DATASETS, MODEL_OF_READERS)),
        ("datasets.any", (DATASET, DATASET_OF_RUNNER, DATASET_OF_VALIDATION)),
    ],
)
def test_every_key_is_accounted_for_once(section: str, tables: tuple[dict[str, Any], ...]) -> None:
    keys = list(leaves(OmegaConf.select(defaults(), section)))
    wrong = [k for k in keys if sum(k in t for t in tables) + is_no_op(f"{section}.{k}") != 1]
    assert not wrong, f"{section}: give each of {wrong} a changed value here, or a reason in NO_OP_KEYS"
    assert set().union(*tables) <= set(keys)


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that the tables name."""
    path = tmp_path_factory.mktemp("effects")
    words = (BERT / "vocab.txt").read_text().split()
    (path / "other_vocab.txt").write_text("\n".join([*words[:5], *reversed(words[5:])]) + "\n")
    state = {"llama_proj.scale": torch.ones(1), "query_tokens": torch.ones(1, 8, 48)}
    torch.save({"model": state}, path / "unexpected.pth")
    return path


def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there: what is asked of transformers becomes an error to look at."""

    def from_pretrained(folder: Path, **options: Any) -> None:
        raise ValueError(f"would go to {options['device_map']}")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", from_pretrained)


def run_once(model: TimeChat) -> dict[str, Any]:
    """Training loss with its gradients, and how often the blocks of ViT and LLaMA ran for them."""
    calls = []
    causal = model.llama_model.get_base_model() if hasattr(model.llama_model, "get_base_model") else model.llama_model
    for block in (*model.visual_encoder.blocks, *causal.model.layers):
        block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    seconds = [[0.0, 1.5, 3.0, 4.5, 6.0, 7.5]]
    side = model.cfg.image_size
    frames = torch.arange(6 * 3 * side * side).mul(7).remainder(256).view(6, 3, side, side).byte()
    tokens, limit = model.num_video_tokens(6), model.cfg.max_txt_len
    enc = encode_conversation(QA, seconds[0], model.tokenizer, num_video_tokens=tokens, max_txt_len=limit)
    ids, labels, mask = pad_conversations([(enc.input_ids, enc.labels)], 0)
    torch.manual_seed(1)
    loss = model.train()(VideoBatch(frames, [6], seconds, ids, labels, mask))["loss"]
    loss.backward()
    count = len(calls)
    answer = model.eval().generate([frames], seconds, ["When?"], max_new_tokens=12)
    embeds = model.encode_video([frames], seconds)[0].sum().item()
    return {"loss": loss.item(), "calls": count, "embeds": embeds, "answer": answer}


def observe_model(options: list[str]) -> dict[str, Any]:
    """Everything that can be seen of a model with some settings."""
    torch.manual_seed(0)
    try:
        model = build_tiny(["model.ckpt=", *options])
    except TimeChatError as error:
        return {"error": str(error)}
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:  # LoRA starts as zero, and what it is scaled by would not show
                p.add_(torch.sin(torch.arange(p.numel(), dtype=p.dtype)).view(p.shape), alpha=0.05)
    kinds = {name: (tuple(p.shape), p.dtype, p.requires_grad) for name, p in model.named_parameters()}
    return {"parameters": kinds, **run_once(model)}


@pytest.fixture(scope="module")
def observed() -> Callable[..., dict[str, Any]]:
    """`observe_model`, each set of options once."""
    return functools.cache(lambda *options: observe_model(list(options)))


@pytest.mark.parametrize("key", MODEL)
def test_a_key_of_model_changes_the_model(
    key: str, observed: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if key == "device_8bit":
        fake_gpu(monkeypatch)
    value, shared = MODEL[key] if isinstance(MODEL[key], tuple) else (MODEL[key], [])
    base = [f"model.{option}" for option in shared]
    before, after = observed(*base), observed(*base, f"model.{key}={value}")
    assert "error" not in before or key in ("device_8bit", "allow_unexpected")
    assert before != after


def test_the_same_settings_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared above stays the same if nothing changes."""
    monkeypatch.chdir(folder)
    assert observe_model([]) == observe_model([])


# Datasets -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def info(folder: Path) -> dict[str, str]:
    """A dataset of two videos, other annotations, and a folder without videos."""
    info = tiny_dataset(folder / "data")
    left_dark = np.zeros((20, 48, 64, 3), np.uint8)
    left_dark[:, :, 32:] = 200  # a crop shows
    write_video(Path(info["videos_dir"]) / "a.mp4", frames=left_dark)
    write_json(folder / "other.json", [{"video": "b.mp4", "QA": QA}])
    (folder / "elsewhere").mkdir()
    return info


def observe_dataset(info: dict[str, str], key: str = "", value: Any = None, options: tuple[str, ...] = ()) -> Any:
    """The first sample of a dataset and whether it was kept, or the error."""
    entry = OmegaConf.create({"builder": "video_instruct", "build_info": info})
    if key:
        OmegaConf.update(entry, key, value)
    try:
        (data,) = build_datasets(dataset_config({"mine": entry}, options, folder=Path(info["anno_dir"]).parent))
        sample = data.sample(0, torch.Generator().manual_seed(3))
    except TimeChatError as error:
        return type(error), str(error)
    kept = Path("cache").is_dir()
    return len(data), kept, sample.key, sample.frames.tolist(), sample.seconds, sample.input_ids, sample.labels


@pytest.mark.parametrize("key", DATASET)
def test_a_key_of_a_dataset_changes_its_samples(
    key: str, info: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = observe_dataset(info)
    assert isinstance(before[0], int)
    assert observe_dataset(info) == before
    assert observe_dataset(info, key, DATASET[key]) != before


@pytest.mark.parametrize("key", DATASET_OF_VALIDATION)
def test_a_key_of_a_dataset_changes_its_validation_data(
    key: str, info: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default there is none."""
    monkeypatch.chdir(folder)
    change = DATASET_OF_VALIDATION[key]
    value, shared = change if isinstance(change, tuple) else (change, [])
    shared = {name: Path(info["anno_dir"]) for name in shared}
    found = []
    for settings in (shared, shared | {key: value}):
        entry = OmegaConf.create({"builder": "video_instruct", "build_info": info})
        for name, setting in settings.items():
            OmegaConf.update(entry, name, str(setting))
        cfg = validation_config(dataset_config({"mine": entry}, folder=folder))
        found.append([(data.videos_dir, data.items) for data in build_datasets(cfg)] if cfg.datasets else [])
    assert found[0] != found[1]


@pytest.mark.parametrize("key", MODEL_OF_DATASETS)
def test_a_key_of_model_changes_the_samples(key: str, info: dict[str, str]) -> None:
    assert observe_dataset(info) != observe_dataset(info, options=(f"model.{key}={MODEL_OF_DATASETS[key]}",))


@pytest.mark.parametrize("key", MODEL_OF_READERS)
def test_a_key_of_model_changes_how_videos_are_read(
    key: str, info: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """decord is an error for a video with open groups of pictures; without a limit no other process reads.

    What was found out about the video is kept, unless there is no folder for it.
    """
    write_video(tmp_path / "a.mp4", 30, gop=12, codec_options=OPEN)
    info = info | {"videos_dir": str(tmp_path)}
    write_json(tmp_path / "one.json", [{"video": "a.mp4", "QA": QA}])
    info["anno_dir"] = str(tmp_path / "one.json")
    seen = []
    for options in ((), (f"model.{key}={MODEL_OF_READERS[key]}",)):
        monkeypatch.setattr(guard, "_child", None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"caches{len(options)}"))
        sample = observe_dataset(info, options=options)
        seen.append((sample, guard._child is None, len(list(tmp_path.glob(f"caches{len(options)}/timechat/looks/*")))))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("key", DATASET_OF_RUNNER)
def test_a_key_of_a_dataset_changes_the_stream(key: str, info: dict[str, str], tmp_path: Path) -> None:
    """Which dataset is at each of 200 positions of the first epoch."""
    streams = []
    for value in (1.0, DATASET_OF_RUNNER[key]):
        AcceleratorState._reset_state(reset_partial_state=True)
        entry = {"builder": "video_instruct", "build_info": info}
        run = ["run.device=cpu", f"run.output_dir={tmp_path}"]
        cfg = dataset_config({"one": entry, "two": entry | {key: value}}, run, folder=tmp_path)
        stream = build_runner(cfg).stream.epoch(0, 200)
        streams.append([stream[i].dataset for i in range(200)])
    assert 70 < sum(streams[0]) < 130
    assert sum(streams[1]) > 160


def test_the_tables_are_about_the_tiny_config() -> None:
    """No table repeats the value that the tiny config has already."""
    cfg = OmegaConf.load(TINY / "config.yaml").model
    plain = {k: v for k, v in MODEL.items() if not isinstance(v, tuple)}
    assert not [k for k, v in plain.items() if OmegaConf.select(cfg, k) == v]
