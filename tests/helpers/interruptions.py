"""Runs that are killed or stopped in processes of their own, and what they did up to then.

Processes are forked from the one that runs the tests, so that nothing is imported twice. The runner, the data and what
is random about them are real; the model is a few numbers.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from helpers.plain_model import PlainModel
from helpers.tiny import write_json
from helpers.training import item, read_lines, training_config
from helpers.videos import write_video
from timechat.batch import VideoBatch
from timechat.datasets.worker_signals import STOP_SIGNALS
from timechat.distributed import setup_logging
from timechat.models import BaseModel
from timechat.registry import registry
from timechat.runners import Runner, build_runner
from timechat.runners.signals import StopTraining, stop_signals
from timechat.tasks import InstructionTask

logger = logging.getLogger(__name__)

NAMES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "f.mp4", "g.mp4")
ANNOTATIONS = "annotations.json"
RANDOM = {"sample_type": "rand", "vis_processor": {"train": {"name": "alpro_video_train"}}}
PLAIN = {"vis_processor": {"train": {"name": "alpro_video_eval"}}}
# Two epochs of three steps of two micro-batches on each process; log lines span checkpoints.
LONG = (
    "run.max_epoch=2",
    "run.iters_per_epoch=6",
    "run.accum_grad_iters=2",
    "run.log_freq=2",
    "run.save_every_steps=1",
)
DROPOUT, NO_DROPOUT = ("model.lora_dropout=0.5",), ("model.lora_dropout=0.0",)
OPTIONS = ("run.task=pixels", "run.init_lr=0.05", "run.min_lr=0.01", "model.num_frm=2", "model.image_size=8")


class Pixels(PlainModel):
    """Brightness of a video's quarters -> one number: sees frames, crops, and the units that dropout leaves."""

    def __init__(self, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 8), nn.Dropout(dropout), nn.Linear(8, 1))

    def forward(self, batch: VideoBatch) -> dict[str, Tensor]:
        """`sample_losses` [B] of a batch."""
        quarters = nn.functional.adaptive_avg_pool2d(batch.frames.float() / 255, 2).flatten(1)
        means = torch.stack([video.mean(0) for video in quarters.split(batch.frame_counts)])
        return {"sample_losses": (self.layers(means).squeeze(1) - 1.0).square()}


class PixelsTask(InstructionTask):
    """The real data around that model; what is learned from is written down."""

    def build_model(self, cfg: Any, load_weights: bool = True) -> BaseModel:
        """With the dropout of LoRA."""
        self.drawn = Path(cfg.run.output_dir) / f"drawn_{os.environ.get('RANK', 0)}.jsonl"
        return Pixels(cfg.model.lora_dropout)

    def train_step(self, model: nn.Module, batch: VideoBatch) -> Tensor:
        """The loss, after a note of what is seen."""
        with self.drawn.open("a") as file:
            counted = [] if batch.dummy else batch.keys
            file.write(json.dumps({"keys": counted, "seen": int(batch.frames.long().sum())}) + "\n")
        return super().train_step(model, batch)


registry.register_task("pixels")(PixelsTask)


def make_gradients(folder: Path) -> Path:
    """Small videos, each brighter to one side and from frame to frame, and their annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        frames = np.arange(10)[:, None, None, None] * 10 + np.arange(32)[None, None, :, None] * 4 + 3 * number
        write_video(folder / name, np.broadcast_to(frames.astype(np.uint8), (10, 32, 32, 3)))
    write_json(folder / ANNOTATIONS, [item(name) for name in NAMES])
    return folder


@dataclass
class Case:
    """One kind of run.

    Attributes:
        videos: their folder.
        output: of the run.
        options: config overrides.
        world: how many processes.
        entry: settings of the dataset.
    """

    videos: Path
    output: Path
    options: Sequence[str] = ()
    world: int = 1
    entry: dict[str, Any] | None = None

    def build(self) -> Runner:
        """The runner, in this process."""
        AcceleratorState._reset_state(reset_partial_state=True)
        info = {"anno_dir": str(self.videos / ANNOTATIONS), "videos_dir": str(self.videos)}
        entry = {"builder": "video_instruct", "build_info": info, **(RANDOM if self.entry is None else self.entry)}
        # The config's file is each process's own.
        folder = self.output.with_name(f"{self.output.name}_{os.environ.get('RANK', 0)}")
        options = (*OPTIONS, f"run.output_dir={self.output}", *self.options)
        return build_runner(training_config(folder, {"tv": entry}, *options))

    def run(
        self,
        change: Callable[[Runner], None] = lambda runner: None,
        meanwhile: Callable[[list[int]], None] = lambda pids: None,
    ) -> list[int]:
        """Train in forked processes, after a change of each one's runner; their exit statuses, -9 for killed ones.

        What happens meanwhile gets the processes' numbers.
        """

        def train(rank: int) -> None:
            with stop_signals:  # as train.py does
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
                try:
                    runner = self.build()
                except StopTraining as stop:
                    logger.warning("%s", stop)
                    return
                change(runner)
                runner.train()
                signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            if rank == 0:
                weights = [parameter.tolist() for parameter in runner.engine.unwrap().parameters()]
                (self.output / "weights.json").write_text(json.dumps(weights))

        return fork(train, self.world, self.output, meanwhile)

    def drawn(self) -> list[Any]:
        """What each process learned from, micro-batch by micro-batch, since this was last asked for."""
        files = [self.output / f"drawn_{rank}.jsonl" for rank in range(self.world)]
        drawn = [read_lines(file) for file in files]
        for file in files:
            file.unlink(missing_ok=True)
        return drawn

    def result(self) -> dict[str, Any]:
        """Losses, rates and counts of the log, and the weights at the end."""
        records = [record for record in read_lines(self.output / "log.jsonl") if record["event"] == "train"]
        return {
            "log": [{key: record[key] for key in ("epoch", "step", "lr", "loss", "skipped")} for record in records],
            "weights": json.loads((self.output / "weights.json").read_text()),
        }

    def said(self, rank: int = 0) -> str:
        """What a process of the last run wrote."""
        return self.output.with_name(f"{self.output.name}_{rank}.txt").read_text()


def fork(
    function: Callable[[int], None],
    world: int,
    output: Path,
    meanwhile: Callable[[list[int]], None] = lambda pids: None,
) -> list[int]:
    """Call a function with its rank in as many forked processes; their exit statuses, -9 for killed ones."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        pid = os.fork()
        if not pid:
            _be_a_process(function, rank, world, port, output)
        children.append(pid)
    meanwhile(children)
    return _statuses(children)


def _statuses(children: list[int]) -> list[int]:
    """Wait for all. Those that wait for one that was killed, to meet it, are killed after a while, as by torchrun."""
    statuses: dict[int, int] = {}
    until = float("inf")
    while len(statuses) < len(children):
        for pid in set(children) - set(statuses):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[pid] = os.waitstatus_to_exitcode(status)
                if statuses[pid] == -signal.SIGKILL:
                    until = min(until, time.monotonic() + 30)
            elif time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return [statuses[pid] for pid in children]


def _be_a_process(function: Callable[[int], None], rank: int, world: int, port: int, output: Path) -> None:
    """Never returns: what pytest has in mind for the end of a process is not for this one."""
    status = 1
    try:
        said = os.open(output.with_name(f"{output.name}_{rank}.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        if world > 1:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
            os.environ |= {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        setup_logging()
        function(rank)
        status = 0
    except BaseException:  # as the interpreter would at the end of a program
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


# Interruptions --------------------------------------------------------------------------------------------------------


def die() -> None:
    """As `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(number: int, action: Callable[[], None]) -> Callable[[Runner], None]:
    """Do something behind an optimizer step, counted from 1; the checkpoint before it is written by then."""

    def change(runner: Runner) -> None:
        step = runner.engine.step

        def stepped() -> None:
            step()
            if runner.steps + 1 == number:
                runner.saver.wait()
                action()

        runner.engine.step = stepped

    return change


def at_call(module: Any, name: str, matches: str, before: bool, count: int = 1) -> Callable[[Runner], None]:
    """Die in the `count`-th call of a function whose arguments have `matches` in them, before or behind its work."""

    def change(runner: Runner) -> None:
        real, left = getattr(module, name), [count]

        def fatal(*args: Any, **kwargs: Any) -> Any:
            left[0] -= any(matches in str(arg) for arg in args)
            if before and not left[0]:
                die()
            result = real(*args, **kwargs)
            if not left[0]:
                die()
            return result

        setattr(module, name, fatal)

    return change


def half_written(count: int) -> Callable[[Runner], None]:
    """Die in the middle of writing a checkpoint's tensors."""

    def change(runner: Runner) -> None:
        real, left = torch.save, [count]

        def fatal(content: Any, path: Path) -> None:
            left[0] -= 1
            real(content, path)
            if not left[0]:
                os.truncate(path, path.stat().st_size // 2)
                die()

        torch.save = fatal

    return change


def signals(number: int, workers: int, rank: int | None = None) -> Callable[[], None]:
    """Another process sends a signal to this one (only that of a rank) and its children, as schedulers do.

    These are the data workers, or without workers the process that reads videos. They must survive it: the process ends
    with an error otherwise.
    """

    def action() -> None:
        if rank in (None, int(os.environ.get("RANK", 0))):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            assert len(children) == (workers or 1)
            subprocess.run(["kill", f"-{int(number)}", *children, str(os.getpid())], check=True)
            time.sleep(0.3)
            states = [Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] for child in children]
            assert "Z" not in states, "a child has ended"

    return action
