"""`train.py` as users call it, in this process; with torchrun: tests/runners/test_distributed_training.py."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.tiny import LLAMA
from helpers.training import make_videos, training_config, video_entry
from omegaconf import OmegaConf

from timechat.cli import train


@pytest.fixture(autouse=True)
def _clean_process() -> Iterator[None]:
    """train.py runs in a separate process; here it must restore logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that trains one step."""
    make_videos(tmp_path / "videos")
    datasets = {"tv": video_entry(tmp_path / "videos", ["b.mp4", "c.mp4"])}
    cfg = training_config(tmp_path / "run", datasets, "run.iters_per_epoch=1")
    OmegaConf.save(cfg, tmp_path / "x.yaml")
    return tmp_path / "x.yaml"


def _fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message, which must be all that a user sees."""
    capsys.readouterr()
    assert train.main(argv) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "Error: " in line]
    assert len(lines) == 1
    return err[err.index(lines[0]) :]


def test_training(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--cfg-path", str(config), "--options", "run.max_epoch=2"]) == 0
    output = config.parent / "run"
    assert {"checkpoint_0.pth", "checkpoint_1.pth", "log.jsonl"} <= {path.name for path in output.iterdir()}
    err = capsys.readouterr().err
    for part in ("2 epochs of 1 optimizer steps", "epoch 0 step 1: loss", "epoch 1 step 2: loss", "checkpoint_1.pth"):
        assert part in err
    assert "Traceback" not in err


def test_every_unknown_key_is_named_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["run.init_rl=1", "model.vit_modle=x", "datasets.tv.sample_ration=1"]
    message = _fails(["--cfg-path", str(config), "--options", *options], capsys)
    assert message.startswith("ConfigError: ")
    for key, meant in (("run.init_rl", "init_lr"), ("model.vit_modle", "vit_model"), ("sample_ration", "sample_ratio")):
        assert key in message
        assert f"did you mean '{meant}'" in message


def test_a_missing_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "absent.yaml: no such config file" in _fails(["--cfg-path", str(tmp_path / "absent.yaml")], capsys)


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("run.evaluate=true", ("ConfigError", "run.evaluate=true", "evaluate.py")),
        ("datasets.tv.build_info.anno_dir=gone.json", ("MissingFilesError", "gone.json: no such annotation file")),
        ("model.ckpt=gone.pth", ("MissingFilesError", "model.ckpt=gone.pth: no such file")),
        ("run.resume_ckpt_path=gone.pth", ("MissingFilesError", "run.resume_ckpt_path=gone.pth: no such file")),
        ("run.precision=fp16", ("ConfigError", "run.precision=fp16 needs a GPU")),
        ("run.batch_size_train=0", ("ConfigError", "run.batch_size_train=0: must be 1 or more")),
        ("run.seed=-1", ("ConfigError", "seed")),
    ],
)
def test_mistakes_are_one_message(
    config: Path, capsys: pytest.CaptureFixture[str], option: str, parts: tuple[str, ...]
) -> None:
    message = _fails(["--cfg-path", str(config), "--options", option], capsys)
    assert all(part in message for part in parts)


def test_everything_missing_is_one_message(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, tokenizers, annotations, folders, and videos of the annotations that are there; each with its source."""
    info = "datasets.tv.build_info"
    (config.parent / "videos" / "c.mp4").unlink()
    options = ["model.vit_model=X/eva_vit_g.pth", "model.ckpt=gone.pth", "model.llama_model=X/llama-2-7b-chat-hf"]
    options += ["model.qformer_tokenizer=a/b/bert", "run.resume=gone", "run.valid_splits=[val]"]
    options += [f"{info}.valid_anno_dir=data/TimeIT/x.json", f"{info}.valid_videos_dir=elsewhere"]
    message = _fails(["--cfg-path", str(config), "--options", *options], capsys)
    wanted = (
        "MissingFilesError: files are missing:",
        "model.vit_model=X/eva_vit_g.pth: no such file\n    get it with: curl -L --create-dirs -o X/eva_vit_g.pth http",
        "model.ckpt=gone.pth: no such file\n",
        "model.llama_model=X/llama-2-7b-chat-hf: no such folder; it must be a Hugging Face LLaMA folder\n"
        "    get it with: hf download DAMO-NLP-SG/Video-LLaMA-2-7B-Finetuned --include",
        "model.qformer_tokenizer=a/b/bert: no vocab.txt there, under ckpt/bert or in the hub's cache, and it cannot be",
        f"{info}.valid_anno_dir=data/TimeIT/x.json: no such annotation file\n"
        "    get it with: git lfs install && git clone https://huggingface.co/datasets/ShuhuaiRen/TimeIT data/TimeIT\n",
        f"{info}.valid_videos_dir=elsewhere: no such folder\n    videos: docs/DATA.md says where",
        "run.resume=gone: no such file\n",
        "Fetch them, or correct the paths",
    )
    for part in wanted:
        assert part in message
    assert "videos.tv" not in message
    options[6:] = ["run.valid_splits=[]"]
    message = _fails(["--cfg-path", str(config), "--options", *options], capsys)
    assert "datasets.tv: 1 of 2 files exist, for 1 of 2 samples" in message
    assert "tv: 1 of 2 files are missing, such as c.mp4" in message


def test_options_in_several_lists_and_from_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "2e-3")
    argv = ["--options", "run.max_epoch=2", "--options", f"run.output_dir={config.parent}/exp #3"]
    assert (
        train.main(["--cfg-path", str(config), *argv, "--options", "run.init_lr=${oc.env:LR}", "run.min_lr=2e-3"]) == 0
    )
    saved = torch.load(config.parent / "exp #3" / "checkpoint_1.pth", weights_only=True)
    assert (saved["config"]["run"]["init_lr"], saved["config"]["run"]["max_epoch"]) == (2e-3, 2)


def test_an_output_folder_at_home(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = config.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(config.parent)
    assert train.main(["--cfg-path", "~/../x.yaml", "--options", "run.output_dir=~/mine"]) == 0
    assert (home / "mine" / "checkpoint_0.pth").is_file()
    assert not Path("~").exists()


# What `accelerate launch` sets, and what else accelerate listens to.
LAUNCH = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
}


def test_accelerates_environment_changes_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(name: str) -> dict[str, torch.Tensor]:
        AcceleratorState._reset_state(reset_partial_state=True)
        options = [f"run.output_dir={config.parent / name}", "run.clip_grad_norm=0.01", "run.accum_grad_iters=1"]
        assert train.main(["--cfg-path", str(config), "--options", *options]) == 0
        saved = torch.load(config.parent / name / "checkpoint_0.pth", weights_only=True)
        return saved["model"] | {"moments": saved["optimizer"]["state"][0]["exp_avg"]}

    plain = trained("plain")
    for name, value in LAUNCH.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    launched = trained("launched")
    assert f"ignored: {', '.join(sorted(LAUNCH))}" in capsys.readouterr().err
    assert plain.keys() == launched.keys()
    assert all(torch.equal(plain[name], launched[name]) for name in plain)


def test_a_run_goes_on_where_only_places_and_memory_changed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--cfg-path", str(config)]) == 0
    llama = shutil.copytree(LLAMA, tmp_path / "elsewhere")
    changed = [f"model.llama_model={llama}", "model.use_grad_checkpoint=true"]
    capsys.readouterr()
    assert train.main(["--cfg-path", str(config), "--options", "run.max_epoch=2", *changed]) == 0
    err = capsys.readouterr().err
    assert "resuming after step 1" in err
    assert f"model.llama_model: {LLAMA} then, {llama} now; it is taken for the same at another place" in err
    message = _fails(["--cfg-path", str(config), "--options", "run.max_epoch=3", "model.lora_r=3"], capsys)
    assert "was written with other settings" in message


def test_a_gpu_that_is_not_there(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = _fails(["--cfg-path", str(config), "--options", "run.device=cuda"], capsys)
    assert message == ("ConfigError: run.device=cuda: no CUDA GPU is visible to torch; set run.device=cpu (or auto)\n")
