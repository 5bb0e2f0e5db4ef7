"""A user's own DeepSpeed file: what is merged, and what contradicts the run. Needs no DeepSpeed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_config
from helpers.training import build, make_videos
from omegaconf import DictConfig
from torch import nn

from timechat import distributed
from timechat.errors import ConfigError
from timechat.runners.engines import DeepSpeedZero2Engine
from timechat.runners.engines.deepspeed_settings import merged, user_settings
from timechat.runners.plan import TrainingPlan, make_plan

CPU = torch.device("cpu")
NEEDS_DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
RUN = (
    "run.strategy=deepspeed_zero2",
    "run.batch_size_train=4",
    "run.accum_grad_iters=2",
    "run.clip_grad_norm=1.0",
    "run.init_lr=5e-5",
    "run.weight_decay=0.05",
    "run.beta2=0.98",
)
AGREES = {
    "train_batch_size": 64,
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 1,
    "gradient_allreduce_op": "mean",
    "fp16": {"enabled": False, "loss_scale": 0, "initial_scale_power": 16},
    "bf16": {"enabled": True},
    "amp": {"enabled": False},
    "torch_autocast": {"enabled": True, "dtype": "bfloat16"},
    "elasticity": {"enabled": False, "micro_batch_sizes": [2, 4]},
    "optimizer": {"type": "adamw", "params": {"lr": 5e-5, "betas": [0.9, 0.98], "eps": 1e-8, "weight_decay": 0.05}},
    "zero_optimization": {"stage": 2, "compute_grad_norm": True},
    "zero_allow_untested_optimizer": True,
}


def run_and_plan(*options: str) -> tuple[DictConfig, TrainingPlan]:
    """The section `run`, and its plan on 8 processes."""
    run = tiny_config([*RUN, *options]).run
    return run, make_plan(run, world_size=8, num_samples=1000)


def settings(tmp_path: Path, content: Any, *options: str, precision: str = "bf16") -> dict[str, Any]:
    """What a file of this content adds."""
    path = tmp_path / "deepspeed.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return user_settings(*run_and_plan(f"run.deepspeed_config={path}", *options), precision)


def test_without_a_file_nothing_is_added() -> None:
    assert user_settings(*run_and_plan(), "bf16") == {}


def test_what_is_the_users_is_kept(tmp_path: Path) -> None:
    theirs = {
        "zero_optimization": {
            "offload_optimizer": {"device": "cpu", "pin_memory": True},
            "overlap_comm": True,
            "reduce_bucket_size": 5e8,
        },
        "communication_data_type": "bf16",
        "comms_logger": {"enabled": True},
        "steps_per_print": None,
    }
    assert settings(tmp_path, theirs) == theirs


def test_what_says_the_same_as_the_run_is_accepted(tmp_path: Path) -> None:
    assert settings(tmp_path, AGREES) == {}


def test_auto_is_the_runs_value_or_deepspeeds_own(tmp_path: Path) -> None:
    """As in the files that Hugging Face's documentation shows."""
    theirs = {
        "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000},
        "bf16": {"enabled": "auto"},
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
        },
        "scheduler": {"type": "auto", "params": {"warmup_max_lr": "auto"}},
        "zero_optimization": {"stage": "auto", "reduce_bucket_size": "auto", "offload_optimizer": {"device": "cpu"}},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }
    assert settings(tmp_path, theirs) == {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"train_batch_size": 32}, r"train_batch_size: 32 there, 64 in this run \(run.batch_size_train, run.accum"),
        ({"train_micro_batch_size_per_gpu": 1}, r"per_gpu: 1 there, 4 in this run \(run.batch_size_train\)"),
        ({"gradient_accumulation_steps": 1}, r"steps: 1 there, 2 in this run"),
        ({"gradient_clipping": 0.5}, r"gradient_clipping: 0.5 there, 1.0 in this run \(run.clip_grad_norm\)"),
        ({"gradient_allreduce_op": "sum"}, r"gradient_allreduce_op: \"sum\" there, \"mean\" in this run"),
        ({"fp16": {"enabled": True}}, r"fp16.enabled: true there, false in this run \(run.precision\)"),
        ({"bf16": {"enabled": False}}, r"bf16.enabled: false there, true in this run \(run.precision\)"),
        ({"amp": {"enabled": True}}, r"amp.enabled: true there, false in this run"),
        ({"torch_autocast": {"enabled": True, "dtype": "float16"}}, r"dtype: \"float16\" there, \"bfloat16\" in"),
        ({"elasticity": {"enabled": True}}, r"elasticity.enabled: true there, false in this run"),
        ({"optimizer": {"type": "Lamb"}}, r"optimizer.type: \"Lamb\" there, \"AdamW\" in this run"),
        ({"optimizer": {"params": {"lr": 1e-4}}}, r"lr: 0.0001 there, 5e-05 in this run \(run.init_lr\)"),
        ({"optimizer": {"params": {"betas": [0.9, 0.999]}}}, r"betas: \[0.9, 0.999\] there, \[0.9, 0.98\] in this run"),
        ({"optimizer": {"params": {"eps": 1e-6}}}, r"eps: 1e-06 there, 1e-08 in this run"),
        ({"optimizer": {"params": {"weight_decay": 0}}}, r"weight_decay: 0 there, 0.05 in this run"),
        ({"optimizer": {"params": {"amsgrad": True}}}, r"amsgrad: true there, null in this run \(the run has none\)"),
        ({"scheduler": {"type": "WarmupLR"}}, r"\"WarmupLR\" there, null in this run \(run.lr_sched=linear_warmup_cos"),
        ({"zero_optimization": {"stage": 3}}, r"stage: 3 there, 2 in this run \(run.strategy\)"),
        ({"zero_optimization": {"compute_grad_norm": False}}, r"compute_grad_norm: false there, true in this run"),
        ({"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}, r"device: \"nvme\" there, cpu in this run"),
        ({"zero_optimization": {"offload_optimizer": {"super_offload": True}}}, r"super_offload: true there, false in"),
        ({"zero_optimization": {"zenflow": {"topk_ratio": 0.1}}}, r"topk_ratio: 0.1 there, null in this run"),
        ({"zero_allow_untested_optimizer": False}, r"optimizer: false there, true in this run"),
    ],
)
def test_what_contradicts_the_run(tmp_path: Path, theirs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        settings(tmp_path, theirs)
    assert len(str(raised.value).splitlines()) == 2
    assert f"run.deepspeed_config={tmp_path / 'deepspeed.json'} contradicts the run" in str(raised.value)


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    theirs = {"gradient_clipping": 3, "train_batch_size": 8, "zero_optimization": {"stage": 1, "overlap_comm": True}}
    with pytest.raises(ConfigError) as raised:
        settings(tmp_path, theirs)
    lines = str(raised.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "gradient_clipping",
        "train_batch_size",
        "zero_optimization.stage",
    ]


def test_no_clipping_is_zero_for_deepspeed(tmp_path: Path) -> None:
    options = ("run.clip_grad_norm=null",)
    assert settings(tmp_path, {"gradient_clipping": 0}, *options) == {}
    with pytest.raises(ConfigError, match=r"gradient_clipping: 1.0 there, 0.0 in this run"):
        settings(tmp_path, {"gradient_clipping": 1.0}, *options)


def test_fp32_is_no_autocast(tmp_path: Path) -> None:
    assert (
        settings(tmp_path, {"bf16": {"enabled": False}, "torch_autocast": {"enabled": False}}, precision="fp32") == {}
    )
    with pytest.raises(ConfigError, match=r"bf16.enabled: true there, false in this run"):
        settings(tmp_path, {"bf16": {"enabled": True}}, precision="fp32")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1,}', r"not valid JSON \(.*\); correct the file"),
        ('{"a": 1, "b": 2, "a": 3}', r"not valid JSON \(a occurs twice\)"),
        ("[]", r"expected an object of DeepSpeed's settings, got list"),
        ('{"zero_optimization": 2}', r"zero_optimization=2: expected an object"),
        ('{"optimizer": "AdamW"}', r"optimizer='AdamW': expected an object"),
    ],
)
def test_broken_files(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"run\.deepspeed_config={tmp_path}/deepspeed\.json: {message}"):
        settings(tmp_path, content)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "deepspeed.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match="not valid JSON"):
        user_settings(*run_and_plan(f"run.deepspeed_config={path}"), "bf16")


def test_a_missing_file_stops_the_run_before_weights_are_read(tmp_path: Path) -> None:
    missing = ["run.strategy=deepspeed_zero2", f"run.deepspeed_config={tmp_path}/none.json", "model.ckpt=none.pth"]
    with pytest.raises(ConfigError, match=r"run\.deepspeed_config=.*none\.json: no such file"):
        build(tmp_path, {"tv": make_videos(tmp_path / "videos")}, *missing)
    with pytest.raises(ConfigError, match=f"run.deepspeed_config={tmp_path}: cannot be read"):
        user_settings(*run_and_plan(f"run.deepspeed_config={tmp_path}"), "bf16")


def test_other_strategies_have_no_use_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key run\.deepspeed_config"):
        settings(tmp_path, {}, "run.strategy=fsdp")


def test_merging() -> None:
    ours = {"a": 1, "zero": {"stage": 2}}
    theirs = {"a": 2, "b": 3, "zero": {"stage": 3, "offload": {"device": "cpu"}}}
    assert merged(ours, theirs) == {"a": 1, "b": 3, "zero": {"stage": 2, "offload": {"device": "cpu"}}}
    assert merged(ours, {}) == ours
    assert theirs["zero"]["stage"] == 3, "the settings themselves stay as they are"


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One process on CPUs that torchrun did not start."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("LOCAL_RANK", "0")  # so that it is taken back afterwards
    monkeypatch.delenv("LOCAL_RANK")
    yield
    distributed.destroy_process_group()


@pytest.mark.engines
@NEEDS_DEEPSPEED
@pytest.mark.usefixtures("_alone")
def test_a_key_that_deepspeed_does_not_know() -> None:
    with pytest.raises(ConfigError, match=r"DeepSpeed refuses the settings: .*overlap_com, Extra inputs"):
        DeepSpeedZero2Engine(CPU, "fp32", {"zero_optimization": {"overlap_com": True}})


@pytest.mark.engines
@NEEDS_DEEPSPEED
@pytest.mark.usefixtures("_alone")
def test_the_optimizer_works_in_main_memory() -> None:
    """In DeepSpeed's code, or torch's where the file says so; both take the same first step of Adam."""
    for force, kind in ((True, "DeepSpeedCPUAdam"), (False, "AdamW")):  # DeepSpeed keeps groups of a whole process
        offload = {"offload_optimizer": {"device": "cpu", "pin_memory": False}}
        settings = {"zero_optimization": offload, "zero_force_ds_cpu_optimizer": force}
        engine = DeepSpeedZero2Engine(CPU, "fp32", settings)
        model = nn.Linear(2, 1, bias=False)
        nn.init.ones_(model.weight)
        engine.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0))
        assert type(engine.optimizer.optimizer).__name__ == kind
        assert engine.optimizer.cpu_offload
        with engine.accumulate(last=True):
            loss = engine.model(torch.tensor([[3.0, 4.0]])).sum()
            engine.backward(loss)
        checked = engine.check(loss)
        assert checked.finite
        assert checked.norm == pytest.approx(5.0)
        engine.clip(1.0)
        engine.step()
        assert engine.unwrap().weight.tolist() == [pytest.approx([0.9, 0.9])]
