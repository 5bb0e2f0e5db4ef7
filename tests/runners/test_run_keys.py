"""Every key of a `run` section changes something that a run does, or is declared to be without effect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.plain_model import PlainLayers
from helpers.tiny import BERT, LLAMA, defaults
from omegaconf import OmegaConf
from torch import Tensor, nn

import timechat
from timechat import distributed
from timechat.batch import VideoBatch
from timechat.config import is_no_op, load_config
from timechat.datasets.base import VideoDataset
from timechat.datasets.instruction import InstructionSample
from timechat.errors import TimeChatError, VideoError
from timechat.models import BaseModel
from timechat.registry import registry
from timechat.runners import build_runner, loading
from timechat.tasks import InstructionTask

ITEMS, BAD = 6, 4  # samples of the data set, and the one that cannot be read
BASE = {
    "device": "cpu",
    "num_workers": 0,
    "missing_videos": "drop",
    "log_freq": 1,
    "max_epoch": 2,
    "iters_per_epoch": 4,
    "accum_grad_iters": 2,
    "warmup_steps": 1,
    "init_lr": 0.1,
    "min_lr": 0.01,
    "warmup_lr": 0.001,
}
STEP = {"lr_sched": "linear_warmup_step_lr", "lr_decay_rate": 0.5}

# For each key another value, or (another value, what else is set in both runs).
CHANGED: dict[str, Any] = {
    "task": "unheard_of",
    "runner": "unheard_of",
    "lr_sched": ("linear_warmup_cosine_lr", STEP),
    "init_lr": 0.2,
    "min_lr": 0.05,
    "warmup_lr": 0.01,
    "warmup_steps": 3,
    "lr_decay_rate": (0.25, STEP),
    "max_epoch": 3,
    "iters_per_epoch": 2,
    "batch_size_train": 2,
    "accum_grad_iters": 4,
    "reference_world_size": 2,
    "weight_decay": 0.5,
    "beta2": 0.9,
    "clip_grad_norm": 1e-3,
    "device": "cuda",
    "strategy": "fsdp",
    "deepspeed_config": "missing.json",
    "amp": True,
    "precision": "bf16",
    "compile": True,
    "liger": True,
    "num_workers": 1,
    "seed": 43,
    "output_dir": "elsewhere",
    "log_freq": 2,
    "loggers": [],
    "valid_splits": ["val"],
    "valid_benchmark": {"name": "charades_sta", "anno_path": "missing.txt", "videos_dir": "."},
    "best_score": "valid_loss",
    "stop_at_score": 0.5,
    "save_every_steps": 1,
    "save_every_minutes": 0.0,
    "keep_checkpoints": 1,
    "resume": "missing.pth",
    "resume_ckpt_path": "missing.pth",
    "missing_videos": "error",
    "max_skip_ratio": 0.0,
    "max_nonfinite": (1, {"init_lr": 1e30, "min_lr": 1e30}),
    "data_timeout_s": (None, {"num_workers": 1}),
    "train_splits": ["val"],
    "evaluate": True,
}

# Keys that other programs than train.py read, and the file where they do.
READ_ELSEWHERE = {"batch_size_eval": "timechat/evaluation/run.py"}

LEAVES = list(defaults().run)


class _Data(VideoDataset):
    """A data set whose samples are a number; each has the config as its file, but for one."""

    makes = InstructionSample

    def __init__(self) -> None:
        super().__init__("numbers", range(ITEMS + 1), "", load=lambda path, generator: None, processor=None)

    def path(self, index: int) -> str:
        return "config.yaml" if index < ITEMS else "gone"

    def key(self, index: int) -> str:
        return f"numbers[{index}]"

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        if index == BAD:
            raise VideoError("bad.mp4", "is empty")
        return InstructionSample(
            torch.zeros(1, 3, 1, 1, dtype=torch.uint8), [0.0], [index + 1], [index + 1], self.key(index)
        )


class _Task(InstructionTask):
    """The real loop around a model of three numbers."""

    def build_model(self, cfg: Any, load_weights: bool = True) -> BaseModel:
        return PlainLayers(nn.Linear(1, 2), nn.Dropout(0.5), nn.Linear(2, 1))

    def build_datasets(self, cfg: Any) -> list[Any]:
        return [_Data()]

    def train_step(self, model: nn.Module, batch: VideoBatch) -> Tensor:
        return (model(batch.input_ids.float()[:, :1]) - 1.0).square().mean()


@pytest.fixture
def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What a run with some settings does, in everything that can be seen from outside."""
    loader = loading.DataLoader
    seen: dict[str, Any] = {}

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.update(workers=kwargs["num_workers"], timeout=kwargs["timeout"])
        return loader(*args, **kwargs)

    monkeypatch.setattr(loading, "DataLoader", watched)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(registry._tables["task"], "video_text_pretrain", _Task)
    monkeypatch.chdir(tmp_path)
    return partial(_observe, seen)


def _observe(seen: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    seen.clear()
    before = {str(path) for path in Path().rglob("*")}
    AcceleratorState._reset_state(reset_partial_state=True)
    entry = {"builder": "video_instruct"}
    model = {"llama_model": str(LLAMA), "qformer_tokenizer": str(BERT)}  # which have to be there
    OmegaConf.save({"run": {**BASE, **settings}, "datasets": {"numbers": entry}, "model": model}, "config.yaml")
    try:
        runner = build_runner(load_config("config.yaml"))
        runner.train()
    except TimeChatError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        distributed.destroy_process_group()
    records = [json.loads(line) for line in (runner.output_dir / "log.jsonl").read_text().splitlines()]
    measured = ("videos_per_s", "tokens_per_s", "data_wait", "config", "seconds", "mfu", "memory_gib")
    return {
        **seen,
        "plan": repr(runner.plan),
        "engine": (runner.engine.name, runner.engine.precision),
        "optimizer": [
            {k: v for k, v in g.items() if k not in ("params", "lr")} for g in runner.engine.optimizer.param_groups
        ],
        "weights": [tensor.tolist() for tensor in runner.engine.model_state().values()],
        "log": [{k: v for k, v in record.items() if k not in measured} for record in records],
        "files": sorted({str(p) for p in Path().rglob("*") if "events.out" not in p.name} - before - {"config.yaml"}),
    }


@pytest.mark.parametrize("key", [key for key in LEAVES if key in CHANGED])
def test_changing_the_key_changes_the_run(key: str, fingerprint: Callable) -> None:
    change = CHANGED[key]
    value, shared = change if isinstance(change, tuple) else (change, {})
    base = {"output_dir": "runs", **shared}
    before = fingerprint(base)
    assert "error" not in before
    assert before["log"][-1]["event"] == "end"
    shutil.rmtree("runs")
    after = fingerprint({**base, key: value})
    assert after != before


def test_the_same_settings_do_the_same(fingerprint: Callable) -> None:
    """What the test above compares holds still when nothing changes."""
    first, second = fingerprint({"output_dir": "one"}), fingerprint({"output_dir": "two"})
    assert {k: v for k, v in first.items() if k != "files"} == {k: v for k, v in second.items() if k != "files"}


@pytest.mark.parametrize("key", LEAVES)
def test_every_key_is_accounted_for(key: str) -> None:
    places = [key in CHANGED, key in READ_ELSEWHERE, is_no_op(f"run.{key}")]
    assert sum(places) == 1, f"run.{key}: give it a changed value here, or a reason in NO_OP_KEYS"


@pytest.mark.parametrize(("key", "file"), READ_ELSEWHERE.items())
def test_keys_of_other_programs_are_read_there(key: str, file: str) -> None:
    assert f"run.{key}" in (Path(timechat.__file__).parents[1] / file).read_text()
