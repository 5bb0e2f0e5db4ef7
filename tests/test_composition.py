"""Which keys there are, by what a config names; what names nothing is at the defaults of schemas."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from omegaconf import OmegaConf

from timechat.composition import free_keys, schema_for
from timechat.errors import ConfigError
from timechat.registry import registry
from timechat.runners import Runner
from timechat.runners.config import RunnerConfig
from timechat.schema import Section, key
from timechat.tasks import InstructionTask


@pytest.fixture
def own_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner `own`, whose runs are of the task `own` if they name none."""
    for kind in ("runner", "task"):
        registry.names(kind)
        for tables in (registry._tables, registry._configs):
            monkeypatch.setitem(tables, kind, dict(tables[kind]))

    @dataclass
    class TaskConfig(Section):
        patience: int = key(3, "epochs")

    @dataclass
    class OwnConfig(RunnerConfig):
        task: str = key("own", "a registered task")

    registry.register_runner("own", config=OwnConfig)(type("Own", (Runner,), {}))
    registry.register_task("own", config=TaskConfig)(type("OwnTask", (InstructionTask,), {}))


def test_the_runner_says_which_task_there_is_by_default(own_runner: None) -> None:
    assert "patience" not in schema_for(OmegaConf.create()).section("run").keys
    assert "patience" in schema_for(OmegaConf.create({"run": {"runner": "own"}})).section("run").keys
    named = OmegaConf.create({"run": {"runner": "own", "task": "video_text_pretrain"}})
    assert "patience" not in schema_for(named).section("run").keys


def test_what_nobody_names_is_a_timechat_and_a_linear_warm_up() -> None:
    schema = schema_for(OmegaConf.create())
    assert (schema.section("model").key("arch").default, schema.section("datasets").keys) == ("timechat", {})
    assert {"warmup_steps", "strategy", "task"} <= schema.section("run").keys.keys()


def test_names_that_nobody_registered_are_listed_together() -> None:
    cfg = {"model": {"arch": "a"}, "datasets": {"x": {"builder": "b"}}, "run": {"runner": "c", "task": "d"}}
    with pytest.raises(ConfigError) as caught:
        schema_for(OmegaConf.create(cfg))
    lines = str(caught.value).splitlines()
    assert [line.partition(": unknown")[0].partition(": ")[2] for line in lines] == [
        "model.arch=a",
        "datasets.x.builder=b",
        "run.runner=c",
        "run.task=d",
    ]


def test_where_files_lie_and_how_memory_is_saved_may_change_in_a_run() -> None:
    free = free_keys(OmegaConf.create({"datasets": {"mine": {"builder": "caption"}}}))
    places = ("vit_model", "q_former_model", "qformer_tokenizer", "ckpt", "ckpt_2", "llama_proj_model", "llama_model")
    assert {f"model.{name}" for name in (*places, "use_grad_checkpoint")} <= free
    assert {"datasets.mine.tokenizer_name", "datasets.mine.build_info.videos_dir", "run.output_dir"} <= free
    decisive = {"model.freeze_vit", "model.lora_r", "model.vit.depth", "datasets.mine.build_info.anno_dir"}
    assert not free & (decisive | {"run.seed", "run.init_lr", "model.llama_precision", "model.prompt_path"})
