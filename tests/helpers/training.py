"""Short training runs on tiny videos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from helpers.tiny import dataset_config, write_json
from helpers.videos import write_video
from timechat.models.checkpoints import canonical_name
from timechat.runners import Runner, build_runner

ROOT = Path(__file__).parents[2]

NO_DROPOUT = (
    "model.qformer.hidden_dropout_prob=0.0",
    "model.qformer.attention_probs_dropout_prob=0.0",
    "model.lora_dropout=0.0",
)
STEADY = ("run.init_lr=1e-3", "run.min_lr=1e-3")  # learning rate 1e-3 from the first step to the last
BASE = ("run.device=cpu", "run.num_workers=0", "run.log_freq=1")

# Frames of each video and its answer: lengths differ, so that means over tokens and over samples differ.
VIDEOS = {"a.mp4": 20, "b.mp4": 5, "c.mp4": 9, "d.mp4": 12}
ANSWERS = {
    "a.mp4": "0.0 - 1.0 seconds.",
    "b.mp4": "The chef cuts the bread, then the chef adds butter to the pan and stirs it.",
    "c.mp4": "Yes.",
    "d.mp4": "From 0.2 to 0.9 seconds, the chef cuts the bread.",
}


def item(name: str, media: str = "video") -> dict[str, Any]:
    """The annotation of one file."""
    return {media: name, "QA": [{"q": "When does the chef cut the bread?", "a": ANSWERS.get(name, "Never.")}]}


def make_videos(folder: Path) -> dict[str, Any]:
    """Four readable videos of different lengths, with answers of different lengths; a `datasets` entry."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frames in VIDEOS.items():
        write_video(folder / name, frames=frames)
    return video_entry(folder, list(VIDEOS))


def video_entry(folder: Path, names: Sequence[str], annotations: str = "train.json", **settings: Any) -> dict[str, Any]:
    """A `datasets` entry over videos that lie in a folder."""
    anno = write_json(folder / annotations, [item(name) for name in names])
    info = {"anno_dir": str(anno), "videos_dir": str(folder)}
    return {"builder": "video_instruct", "build_info": info, **settings}


def image_entry(folder: Path, count: int = 2) -> dict[str, Any]:
    """A `datasets` entry over noisy images."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    anno = write_json(folder / "images.json", [item(f"{number}.png", "image") for number in range(count)])
    return {
        "builder": "image_instruct",
        "data_type": "images",
        "build_info": {"anno_dir": str(anno), "videos_dir": str(folder)},
        "vis_processor": {"train": {"name": "blip2_image_train"}},
    }


def training_config(output: Path, datasets: dict[str, Any], *options: str) -> DictConfig:
    """The tiny model's config with everything that a short run on this machine needs; later options win."""
    output.mkdir(parents=True, exist_ok=True)
    return dataset_config(datasets, [*BASE, f"run.output_dir={output}", *options], folder=output)


@dataclass
class Run:
    """A finished run and what it wrote."""

    runner: Runner
    output: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        """The records of log.jsonl."""
        return read_lines(self.output / "log.jsonl")

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The records of training."""
        return [record for record in self.log if record["event"] == "train"]

    @property
    def losses(self) -> list[float]:
        """The loss of each record."""
        return [record["loss"] for record in self.steps]

    def checkpoint(self, epoch: int = 0) -> dict[str, Any]:
        """The content of an epoch's checkpoint."""
        return torch.load(self.output / f"checkpoint_{epoch}.pth", map_location="cpu", weights_only=True)


def build(output: Path, datasets: dict[str, Any], *options: str) -> Runner:
    """A runner that has not begun; accelerate forgets earlier runs, so that precisions may differ."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return build_runner(training_config(output, datasets, *options))


def train(output: Path, datasets: dict[str, Any], *options: str) -> Run:
    """Build and train."""
    runner = build(output, datasets, *options)
    runner.train()
    return Run(runner, output)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file; none when there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def weights_of(runner: Runner) -> dict[str, Tensor]:
    """Copies of all parameters, by published name."""
    named = runner.engine.unwrap().named_parameters()
    return {canonical_name(name): p.detach().clone() for name, p in named}


def trainable_names(runner: Runner) -> set[str]:
    """Published names of the parameters that learn."""
    return {canonical_name(n) for n, p in runner.engine.unwrap().named_parameters() if p.requires_grad}


def gradients_of(runner: Runner) -> dict[str, Tensor]:
    """Copies of all gradients that there are, by published name."""
    named = runner.engine.unwrap().named_parameters()
    return {canonical_name(name): p.grad.clone() for name, p in named if p.grad is not None}


def use_sgd(runner: Runner) -> None:
    """Plain gradient descent in place of AdamW, whose first steps turn rounding noise into full-sized changes."""
    groups = runner.engine.optimizer.param_groups
    runner.engine.optimizer.optimizer = torch.optim.SGD([p for group in groups for p in group["params"]], lr=1.0)


def torchrun(script: Path, *args: str, processes: int = 2, timeout: float = 180.0) -> tuple[int, str]:
    """Start a script in several processes on the CPU; returns the exit status and what all of them wrote.

    A run that hangs is ended, all of its processes, and raises subprocess.TimeoutExpired.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    with subprocess.Popen(
        [*command, str(script), *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # torchrun ends its processes when it is asked to stop, and leaves them behind when it is killed.
            process.terminate()
            process.communicate(timeout=60)
            raise
    return process.returncode, output
