"""A lab changes one part of each kind from a folder of its own (`extension/lab`), and every tool works with it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, Golden, build_tiny, golden_batch
from helpers.training import ROOT, read_lines
from helpers.videos import write_video
from omegaconf import DictConfig
from torch import nn

from timechat.batch import VideoBatch
from timechat.cli.config import main as config_command
from timechat.cli.doctor import main as doctor
from timechat.config import load_config
from timechat.datasets import build_datasets
from timechat.errors import ConfigError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.models import BaseModel, build_model
from timechat.models.base import StepSize
from timechat.registry import KINDS, registry
from timechat.runners.checkpointing import Checkpoints
from timechat.runners.engines import build_engine
from timechat.runners.memory import activation_bytes
from timechat.runners.plan import make_plan
from timechat.runners.resume import find_resume_point
from timechat.tasks import build_task

LAB = Path(__file__).parent / "extension" / "lab"
MOMENTS = """video,start,end,event
a.mp4,0.0,0.9,the light goes on
a.mp4,1.2,1.4,a flash
b.mp4,0.3,0.8,a person sits down
"""
MINE = (
    "pooled_timechat",
    "my_moments",
    "my_brightness",
    "my_task",
    "my_runner",
    "my_schedule",
    "my_engine",
    "my_bench",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's folder, with tiny sizes and two videos."""
    folder = tmp_path_factory.mktemp("somewhere") / "lab"
    shutil.copytree(LAB, folder, ignore=shutil.ignore_patterns("__pycache__"))
    sizes = yaml.safe_load((TINY / "config.yaml").read_text())
    del sizes["model"]["end_sym"]  # which says nothing
    sizes["model"] |= {"llama_model": str(LLAMA), "qformer_tokenizer": str(BERT), "ckpt": str(WEIGHTS)}
    sizes["run"] = {"device": "cpu", "num_workers": 0, "log_freq": 1}
    (folder / "sizes.yaml").write_text(yaml.safe_dump(sizes))
    (folder / "videos").mkdir()
    for name, frames in (("a", 20), ("b", 14)):
        write_video(folder / "videos" / f"{name}.mp4", frames=frames)
    (folder / "moments.csv").write_text(MOMENTS)
    return folder


def run(folder: Path, *command: str | Path, path: str = "") -> tuple[int, str, str]:
    """Exit status, output and errors of a Python command line with the lab's folder as working directory."""
    paths = os.pathsep.join(filter(None, [str(ROOT), path]))
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    command = (sys.executable, *map(str, command))
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=180)
    return done.returncode, done.stdout, done.stderr


def output_of(folder: Path, *command: str | Path) -> str:
    """What a command that must succeed writes, on both channels."""
    status, out, err = run(folder, *command)
    assert status == 0, err
    return out + err


@pytest.fixture
def registered(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The lab's package in this process, for as long as a test runs."""
    for kind in KINDS:
        registry.names(kind)
    for tables in ("_tables", "_configs"):
        monkeypatch.setattr(registry, tables, {kind: dict(table) for kind, table in getattr(registry, tables).items()})
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lab
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def configured(*options: str) -> DictConfig:
    """The lab's config."""
    return load_config("train.yaml", options)


# The document ---------------------------------------------------------------------------------------------------------


def test_the_document_shows_the_files_that_are_tested() -> None:
    """Every block of Python in it is a file of the lab, and every file of the lab is in it."""
    document = (ROOT / "docs" / "EXTENDING.md").read_text()
    blocks = re.findall(r"^```(?:python|yaml)\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)
    shown = {block.split("\n", 1)[0]: block.split("\n", 1)[1] for block in blocks if block.startswith("# my_lab/")}
    modules = {f"# my_lab/{file.name}": file.read_text() for file in (LAB / "my_lab").glob("*.py")}
    del modules["# my_lab/__init__.py"]
    assert shown == modules
    assert [block for block in blocks if not block.startswith("# my_lab/")] == [(LAB / "train.yaml").read_text()]


# Every tool -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(lab: Path) -> Path:
    """The folder of a run of two epochs of two optimizer steps."""
    output_of(lab, ROOT / "train.py", "--cfg-path", "train.yaml")
    return lab / "runs" / "mine"


def test_dry_run(lab: Path) -> None:
    text = " ".join(output_of(lab, ROOT / "train.py", "--cfg-path", "train.yaml", "--dry-run").split())
    assert "pool_scale 48 48 float32" in text
    assert "video 12 prompt" in text  # 3 windows of 6 tokens, in twos
    assert "learning rate of step 4 0.000625" in text
    assert "for 2 of 2 samples" in text  # one is too short
    assert "my_engine 8 0.00" in text
    assert "Activations: 1 samples of 12 frames and 2048 tokens, fp32." in text


def test_training(trained: Path) -> None:
    steps = [record for record in read_lines(trained / "log.jsonl") if record["event"] == "train"]
    assert [record["lr"] for record in steps] == [1e-3, 8.75e-4, 7.5e-4, 6.25e-4]
    assert all(math.isfinite(record["loss"]) for record in steps)
    assert (trained / "done.txt").read_text() == "4 optimizer steps\n"
    asked = read_lines(trained / "validation" / "epoch_1" / "predictions.jsonl")
    assert [row["query"] for row in asked] == ["the light goes on"]
    assert asked[0]["prompt"] == "When does 'the light goes on' happen? Give the start and the end in seconds."


def test_checkpoints_and_run_folder_remember_the_import(trained: Path) -> None:
    checkpoint = torch.load(trained / "checkpoint_1.pth", weights_only=True)
    assert checkpoint["config"]["import"] == ["my_lab"]
    assert not torch.equal(checkpoint["model"]["pool_scale"], torch.ones(48))
    assert "pool_scale" in checkpoint["optimized"]
    (start,) = json.loads((trained / "run_info.json").read_text())["starts"]
    assert start["config"]["import"] == ["my_lab"]


def test_resume(lab: Path, trained: Path) -> None:
    shutil.copytree(trained, lab / "runs" / "resumed")
    options = ("--options", "run.max_epoch=3", "run.output_dir=runs/resumed")
    assert "resuming after step 4" in output_of(lab, ROOT / "train.py", "--cfg-path", "train.yaml", *options)
    assert (lab / "runs" / "resumed" / "done.txt").read_text() == "6 optimizer steps\n"


def test_the_lab_s_keys_decide_whether_a_run_may_go_on(registered: Path, trained: Path) -> None:
    """But for the one that says it changes nothing that is learned."""
    changed = ("model.temporal_pool=3", "run.my_loss_weight=2", "datasets.moments.min_seconds=0", "run.done_file=x")
    with pytest.raises(ConfigError) as caught:
        find_resume_point(configured(*changed), Checkpoints(trained, 3))
    assert [line.strip() for line in str(caught.value).splitlines()[1:-1]] == [
        "datasets.moments.min_seconds: 0.3 then, 0 now",
        "model.temporal_pool: 2 then, 3 now",
        "run.my_loss_weight: 0.5 then, 2 now",
    ]


def test_evaluate(lab: Path, trained: Path) -> None:
    data = ("--anno-path", "moments.csv", "--videos-dir", "videos", "--output-dir", "runs/eval")
    mine = ("--benchmark", "my_bench", "--benchmark-options", "min_seconds=0.4")
    how = ("--ckpt", "runs/mine/checkpoint_1.pth", "--max-new-tokens", "4", *mine)
    text = output_of(lab, ROOT / "evaluate.py", "--cfg-path", "train.yaml", *data, *how)
    assert "found / expected  2 / 2" in text
    record = json.loads((lab / "runs" / "eval" / "scores.json").read_text())
    assert record["benchmark"] == "my_bench"
    assert record["prompt"]["file"] == str(lab / "my_lab" / "prompt.txt")
    assert record["settings"]["model.temporal_pool"] == 2


def test_doctor(lab: Path, trained: Path) -> None:
    ckpt = ("--options", "model.ckpt_2=runs/mine/checkpoint_1.pth")
    text = output_of(lab, "-m", "timechat.cli.doctor", "train.yaml", "videos/a.mp4", "--max-new-tokens", "4", *ckpt)
    assert "with 6 query tokens each: 12 video tokens" in text
    assert "tokens: 12 of the video" in text
    assert "pool_scale: model.ckpt_2=runs/mine/checkpoint_1.pth" in text
    assert "0 errors" in text


def test_the_doctor_names_parts_of_the_lab_that_no_file_gave(
    registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(["train.yaml", "--no-answers"]) == 0
    assert "WARNING: pool_scale keeps its random initial values" in capsys.readouterr().out


def test_export(registered: Path, trained: Path) -> None:
    """As a folder that holds all of the model but the lab's code, and says what to import."""
    ckpt = ("--options", "model.ckpt_2=runs/mine/checkpoint_1.pth")
    how = ("--output", "exported", "--format", "safetensors")
    output_of(registered, "-m", "timechat.cli.export", "--cfg-path", "train.yaml", *how, *ckpt)
    learned = torch.load(trained / "checkpoint_1.pth", weights_only=True)["model"]["pool_scale"]
    cfg = load_config("exported")
    assert (cfg["import"], cfg.model.temporal_pool) == (["my_lab"], 2)
    assert torch.equal(build_model(cfg.model).pool_scale, learned)


def test_config(registered: Path) -> None:
    status, out, _ = run(registered, "-m", "timechat.cli.config", "train.yaml")
    assert status == 0
    assert out.startswith("import: [my_lab]\n")
    assert "  temporal_pool: 2                      # windows whose tokens are averaged\n" in out
    Path("filled_in.yaml").write_text(out)
    assert load_config("filled_in.yaml") == configured()


def test_an_installed_package_needs_no_import(lab: Path, tmp_path: Path) -> None:
    info = tmp_path / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[timechat.plugins]\nlab = my_lab\n")
    shutil.copytree(lab / "my_lab", tmp_path / "my_lab")
    (tmp_path / "empty").mkdir()
    status, out, err = run(tmp_path / "empty", "-m", "timechat.cli.config", *MINE, path=str(tmp_path))
    assert status == 0, err
    assert "arch: pooled_timechat" in out


# What the keys do -----------------------------------------------------------------------------------------------------


def pooled(pool: int) -> BaseModel:
    """The lab's model."""
    return build_model(configured(f"model.temporal_pool={pool}").model)


@pytest.fixture
def batch(golden: Golden, registered: Path) -> VideoBatch:
    """Two conversations about videos of 12 frames each, with room for the tokens of all three windows."""
    return golden_batch(golden, build_tiny().tokenizer)


@pytest.mark.parametrize(("pool", "tokens"), [(1, 18), (2, 12), (3, 6), (5, 6)])
def test_pooled_videos_have_as_many_tokens_as_are_counted(
    registered: Path, golden: Golden, pool: int, tokens: int
) -> None:
    model = pooled(pool)
    videos = model.encode_video(golden.videos(), golden.expected["timestamps"])
    assert [len(video) for video in videos] == [tokens, tokens]
    assert model.count_video_tokens(model.cfg, 12) == tokens


def test_without_pooling_it_is_timechat(batch: VideoBatch) -> None:
    model = pooled(1)
    assert torch.allclose(model(batch)["sample_losses"], build_tiny()(batch)["sample_losses"])
    assert model.flop_counter()(batch) == build_tiny().flop_counter()(batch)


def test_what_is_pooled_is_not_projected(batch: VideoBatch) -> None:
    """On one batch, operations differ by the projection of the tokens that are gone, forward and backward."""
    projection = build_tiny().llama_proj.weight.numel()
    gone = len(batch) * 6
    counts = [pooled(pool).flop_counter()(batch) for pool in (1, 2)]
    assert counts[0] - counts[1] == gone * projection * 2 * 3


def test_activations_are_estimated(registered: Path) -> None:
    kept = []
    for pool in (1, 3):
        with torch.device("meta"):
            model = build_model(configured(f"model.temporal_pool={pool}").model, load_weights=False)
        kept.append(activation_bytes(model, StepSize(1, 12, 200, 20), "fp32"))
    assert 0 < kept[1] < kept[0]


def test_the_builder_s_keys(registered: Path) -> None:
    def items(*options: str) -> list[tuple[str, dict[str, str]]]:
        (dataset,) = build_datasets(configured(*options))
        return [(item.path, *item.qa) for item in dataset.items]

    turn = {"q": "At what time does 'the light goes on' happen?", "a": "0.0 - 0.9 seconds."}
    assert items()[0] == ("a.mp4", turn)
    assert [path for path, _ in items()] == ["a.mp4", "b.mp4"]
    assert len(items("datasets.moments.min_seconds=0")) == 3
    assert items("datasets.moments.question=When?")[0][1]["q"] == "When?"


def test_the_processor_s_key(registered: Path) -> None:
    def mean(brightness: float) -> float:
        key = f"datasets.moments.vis_processor.train.brightness={brightness}"
        (dataset,) = build_datasets(configured(key))
        return float(dataset.sample(0, torch.Generator()).frames.float().mean())

    assert mean(0.5) == pytest.approx(mean(1.0) / 2, abs=1)


def test_validation_data_are_not_processed(registered: Path) -> None:
    """The processor in their place does not get the keys of the lab's."""
    options = ("datasets.moments.build_info.valid_anno_dir=moments.csv", "run.valid_splits=[val]")
    cfg = configured(*options)
    (dataset,) = build_task(cfg).build_validation_datasets(cfg)
    (trained,) = build_datasets(cfg)
    frames = [float(data.sample(0, torch.Generator()).frames.float().mean()) for data in (dataset, trained)]
    assert frames[0] == pytest.approx(2 * frames[1], abs=1)


def test_the_task_s_key(batch: VideoBatch) -> None:
    model = pooled(1)
    losses = [build_task(configured(f"run.my_loss_weight={w}")).train_step(model, batch) for w in (1, 3)]
    assert torch.allclose(3 * losses[0], losses[1])


def test_the_schedule_s_key(registered: Path) -> None:
    rates = [make_plan(configured(f"run.final_share={s}").run, 1, 2).learning_rate(1, 1) for s in (0.5, 1.0)]
    assert rates == [6.25e-4, 1e-3]


def test_the_engine_s_key(registered: Path) -> None:
    steps = []
    for value in ("null", "0.25"):
        run = configured(f"run.clip_grad_value={value}").run
        engine = build_engine(run, make_plan(run, 1, 2), torch.device("cpu"), "fp32")
        model = nn.Linear(1, 1, bias=False)
        before = model.weight.detach().clone()
        engine.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
        engine.backward(engine.model(torch.ones(1, 1)).sum())
        engine.step()
        steps.append((before - model.weight).item())
    assert steps == pytest.approx([1.0, 0.25])


def test_the_benchmark_s_key(registered: Path) -> None:
    configured()
    prompt = "When does {query} happen?"
    counts = []
    for options in ({}, {"min_seconds": 0.8}):
        benchmark = get_benchmark("my_bench", options)
        counts.append(len(benchmark.questions(benchmark.load_annotations("moments.csv"), prompt)))
    assert counts == [3, 1]


def test_names_are_printed_with_their_keys(registered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config_command([*MINE, "--import", "my_lab"]) == 0
    pages = capsys.readouterr().out.split("\n# ")
    expected = {
        "pooled_timechat": {"arch": "pooled_timechat", "temporal_pool": 2},
        "my_moments": {"builder": "my_moments", "min_seconds": 0.0},
        "my_task": {"my_loss_weight": 1.0},
        "my_bench": {"min_seconds": 0.0},
    }
    text = "\n# ".join(pages)
    for name, keys in expected.items():
        assert config_command([name]) == 0
        page = yaml.safe_load(capsys.readouterr().out)
        assert {key: page[key] for key in keys} == keys
        assert f" {name}: `" in text


# Mistakes -------------------------------------------------------------------------------------------------------------


def problems(content: dict[str, Any], *options: str) -> list[str]:
    """What is wrong with the lab's config and something on top."""
    Path("wrong.yaml").write_text(yaml.safe_dump({"include": "train.yaml", **content}, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_config("wrong.yaml", options)
    return str(caught.value).splitlines()


def test_the_lab_s_keys_and_ours_are_checked_together(registered: Path) -> None:
    found = problems(
        {
            "model": {"temporal_pol": 2, "temporal_pool": 0, "lora_r": "many"},
            "datasets": {
                "moments": {"min_secs": 1, "min_seconds": -1, "vis_processor": {"train": {"brightness": 3}}},
            },
            "run": {"my_loss_wait": 1, "my_loss_weight": "big", "final_share": 2, "max_epoch": 0},
        },
        "run.valid_benchmark.min_seconds=soon",
    )
    assert found == [
        "wrong.yaml: unknown key model.temporal_pol (did you mean 'temporal_pool'?)",
        "wrong.yaml: unknown key datasets.moments.min_secs (did you mean 'min_seconds'?)",
        "wrong.yaml: unknown key run.my_loss_wait (did you mean 'my_loss_weight'?)",
        "wrong.yaml: model.lora_r='many' must be a whole number",
        "wrong.yaml: model.temporal_pool=0: must be 1 or more",
        "wrong.yaml: datasets.moments.vis_processor.train.brightness=3: must be from 0 to 2",
        "wrong.yaml: datasets.moments.min_seconds=-1: must be 0 or more",
        "wrong.yaml: run.max_epoch=0: must be 1 or more",
        "--options: run.valid_benchmark.min_seconds='soon' must be a number",
        "wrong.yaml: run.my_loss_weight='big' must be a number",
        "wrong.yaml: run.final_share=2: must be from 0 to 1",
    ]


def test_keys_of_what_is_not_named_are_unknown(registered: Path) -> None:
    found = problems({"model": {"arch": "timechat"}, "run": {"task": "video_text_pretrain"}})
    assert [line.split(": ", 1)[1] for line in found] == [
        "unknown key model.temporal_pool",
        "unknown key run.my_loss_weight",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "RegistryError: other.yaml: import: broken_lab: there is no module 'broken_lab' on Python's path"),
        ("import json\njson.loads('{')\n", "broken_lab: failed with JSONDecodeError"),
        (
            "from timechat.registry import registry\n@registry.register_model('timechat')\nclass Mine: ...\n",
            "broken_lab: model 'timechat' is already registered, for timechat.models.timechat.TimeChat; choose another "
            "name ({file}, line 2)",
        ),
    ],
)
def test_a_broken_module_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("other.yaml").write_text("import: [broken_lab]\n")
    if text is not None:
        Path("broken_lab.py").write_text(text)
    assert config_command(["other.yaml"]) == 1
    assert message.format(file=tmp_path / "broken_lab.py") in capsys.readouterr().err
