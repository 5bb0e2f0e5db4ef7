"""TimeChat with random weights that are made on the device, and a runner that trains it; no file has to be there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from benchmarks.full_size.clock import Clock
from benchmarks.speed.sizes import TINY, Bench, placeholder
from timechat.composition import schema_for
from timechat.config import load_config
from timechat.errors import TimeChatError
from timechat.io import write_text
from timechat.models import BaseModel, TimeChat, build_model
from timechat.runners import Runner
from timechat.runners.stand_ins import stand_ins
from timechat.tasks import InstructionTask

RECIPE = Path(__file__).resolve().parents[2] / "train_configs" / "stage2_finetune_time104k_asr_valley72k.yaml"
CHECKPOINTED = ("none", "half", "all")  # of the decoder's layers
SPREAD = 0.02  # standard deviation of random weights


@dataclass(frozen=True)
class Setting:
    """What a training case has switched on."""

    checkpointing: str = "all"
    compile: bool = False
    liger: bool = False


class NotAvailable(TimeChatError):
    """This version, or this machine, cannot do it."""


class Sizes:
    """The files of a size, and configs that name them.

    Args:
        name: `7b`, as in the published recipe, or `tiny`.
        folder: for the files.
    """

    def __init__(self, name: str, folder: Path):
        self.folder = folder
        self.frames, self.tokens, self.new_tokens = (96, 850, 64) if name == "7b" else (8, 320, 3)
        if name == "7b":
            self.content = _published(folder)
        else:
            Bench(TINY, folder).write()
            self.content = {"model": OmegaConf.to_container(OmegaConf.load(folder / "config.yaml").model), "run": {}}
        self.layers = 32 if name == "7b" else TINY.llama["num_hidden_layers"]

    def config(self, setting: Setting, device: torch.device) -> DictConfig:
        """The config of a case.

        Raises:
            NotAvailable: some of its keys do not exist here.
        """
        layers = {"none": "false", "half": str(max(1, self.layers // 2)), "all": "true"}[setting.checkpointing]
        options = [f"model.use_grad_checkpoint={layers}", f"run.device={device.type}"]
        content = {**self.content, "datasets": placeholder(self.folder)}
        plain = OmegaConf.create(content)
        if setting.compile:
            options.append("run.compile=true")
        if setting.liger:
            options += [f"{key}=true" for key in _liger_keys(plain)]
        file = self.folder / "case.yaml"
        write_text(file, OmegaConf.to_yaml(plain))
        settings = ("accum_grad_iters=1", "iters_per_epoch=100000", "resume=never", "loggers=[]", "num_workers=0")
        own = [f"run.output_dir={self.folder / 'run'}", "run.reference_world_size=null", "run.amp=true"]
        try:
            return load_config(file, [*own, *(f"run.{text}" for text in settings), *options])
        except TimeChatError as error:
            raise NotAvailable(str(error).splitlines()[0]) from error


def _published(folder: Path) -> dict[str, Any]:
    """Model and run of the published recipe without its files, in bf16."""
    recipe = OmegaConf.load(RECIPE)
    files = {"llama_model": str(folder / "llama"), "qformer_tokenizer": str(folder / "vocab.txt")}
    absent = {"vit_model": "", "q_former_model": "", "ckpt": "", "vit_precision": "bf16"}
    model = OmegaConf.merge(recipe.model, absent, files)
    file = folder / "model.yaml"
    write_text(file, OmegaConf.to_yaml(OmegaConf.create({"model": model})))
    with stand_ins(load_config(file).model) as (made, _):
        shutil.copytree(made["llama_model"], folder / "llama")
        shutil.copyfile(made["qformer_tokenizer"], folder / "vocab.txt")
    return {"model": OmegaConf.to_container(model), "run": OmegaConf.to_container(recipe.run)}


def _liger_keys(cfg: DictConfig) -> Sequence[str]:
    """The keys that switch Liger's kernels on. Raises NotAvailable: there are none."""
    schema = schema_for(cfg)
    found = [f"{part}.{key}" for part in ("model", "run") for key in schema.section(part).keys if "liger" in key]
    if not found:
        raise NotAvailable("no key of the config switches Liger's kernels on")
    return found


def random_model(section: DictConfig, device: torch.device) -> BaseModel:
    """A model of the section `model`; its numbers are drawn on the device, in their own precision."""
    with init_empty_weights(include_buffers=False):
        model = build_model(section, load_weights=False)
    for name, parameter in list(model.named_parameters()):
        place, _, leaf = name.rpartition(".")
        own = nn.Parameter(_numbers(parameter, leaf, device), requires_grad=parameter.requires_grad)
        setattr(model.get_submodule(place), leaf, own)
    return model.to(device)


def _numbers(like: Tensor, leaf: str, device: torch.device) -> Tensor:
    """Norms 1, biases 0, all others random."""
    numbers = torch.empty(like.shape, dtype=like.dtype, device=device)
    if like.ndim > 1:
        return numbers.normal_(std=SPREAD)
    return numbers.fill_(1.0 if leaf == "weight" else 0.0)


class RandomTask(InstructionTask):
    """Training of a model with random weights; its clock knows when a batch has arrived."""

    def __init__(self, cfg: DictConfig, device: torch.device, clock: Clock):
        super().__init__(cfg)
        self.device, self.clock = device, clock

    def build_model(self, cfg: DictConfig, load_weights: bool = True) -> BaseModel:
        """As described; no weights are loaded in any case."""
        model = random_model(cfg.model, self.device)
        assert isinstance(model, TimeChat)
        self.clock.watch(model)
        return model

    def train_step(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss."""
        self.clock.mark("waiting")
        return super().train_step(model, batch)


def random_runner(cfg: DictConfig, device: torch.device, clock: Clock) -> Runner:
    """A runner that has not begun; its clock knows the parts of a step."""
    task = RandomTask(cfg, device, clock)
    try:
        runner = Runner(cfg, task, task.build_datasets(cfg), device)
    except (TimeChatError, ImportError) as error:
        raise NotAvailable(str(error).splitlines()[0]) from error
    backward = runner.engine.backward

    def watched(loss: Tensor) -> None:
        clock.mark("decoder")
        backward(loss)
        clock.mark("Q-Formers, backward")

    runner.engine.backward = watched
    runner.engine.model.train()
    return runner
