"""What each of several processes does for tests/runners/test_distributed_training.py; results go into files.

Run by torchrun with the folder that holds `datasets.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from torch import nn

from helpers.training import NO_DROPOUT, STEADY, build, gradients_of, train, use_sgd, weights_of
from timechat import distributed
from timechat.cli import train as train_script
from timechat.runners import Runner
from timechat.runners.engines import DDPEngine

CPU = torch.device("cpu")
SAME = ("run.reference_world_size=2", "run.accum_grad_iters=2")
MIXED = ("run.iters_per_epoch=6", "run.init_lr=0.1", "run.min_lr=0.1", "run.seed=3", *SAME, *NO_DROPOUT)
RESUMED = ("run.iters_per_epoch=4", "run.max_epoch=2", *STEADY, *SAME)
REPLACED = ("run.iters_per_epoch=4", "run.seed=3", *STEADY, *SAME)


def collectives() -> dict[str, Any]:
    """What this process gets from the helpers that talk to the others."""
    rank = distributed.rank()
    return {
        "world_size": distributed.world_size(),
        "backend": dist.get_backend(),
        "sums": distributed.all_reduce_sum([rank + 1.0, 2**53 - 1 - rank], CPU),
        "gathered": distributed.gather_objects({"rank": rank}),
    }


def exchange() -> dict[str, Any]:
    """The gradient of one weight, after a micro-batch that is not the last of a step, and after the last."""
    engine, model = DDPEngine(CPU, "fp32"), nn.Linear(1, 1, bias=False)
    engine.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
    result: dict[str, Any] = {"engine": engine.name}
    for name, last, value in (("first", False, 1.0), ("last", True, 10.0)):
        with engine.accumulate(last):
            engine.backward(engine.model(torch.tensor([[value * (distributed.rank() + 1)]])).sum())
        result[name] = model.weight.grad.item()
    return result


def mixed(output: Path, datasets: dict[str, Any]) -> dict[str, Any]:
    """Three steps of gradient descent: gradients of the first, weights after the last, losses, exchanges."""
    runner = build(output, datasets, *MIXED)
    use_sgd(runner)
    gradients: list[dict[str, torch.Tensor]] = []
    exchanged: list[bool] = []
    step, backward = runner.engine.step, runner.engine.backward

    def recorded_step() -> None:
        gradients.append(gradients_of(runner))
        step()

    def recorded_backward(loss: torch.Tensor) -> None:
        exchanged.append(getattr(runner.engine.model, "require_backward_grad_sync", True))
        backward(loss)

    runner.engine.step, runner.engine.backward = recorded_step, recorded_backward
    runner.train()
    return {"gradients": gradients, "weights": weights_of(runner), "exchanged": exchanged}


def replaced(output: Path, datasets: dict[str, Any]) -> list[str]:
    """What this process trains on when some files cannot be read."""
    runner: Runner = build(output, datasets, *REPLACED)
    keys: list[str] = []
    step = runner.task.train_step
    runner.task.train_step = lambda model, batch: (keys.extend(batch.keys), step(model, batch))[1]
    runner.train()
    return keys


def main(folder: Path) -> None:
    """Do everything, one after the other."""
    datasets = json.loads((folder / "datasets.json").read_text())
    results: dict[str, Any] = {"mixed": mixed(folder / "two", datasets["mixed"])}
    results["collectives"] = collectives()
    results["exchange"] = exchange()
    train(folder / "full", datasets["random"], *RESUMED)
    checkpoint = folder / "full" / "checkpoint_0.pth"
    train(folder / "resumed", datasets["random"], *RESUMED, f"run.resume_ckpt_path={checkpoint}")
    results["replaced"] = replaced(folder / "replaced", datasets["broken"])
    rank = distributed.rank()
    AcceleratorState._reset_state(reset_partial_state=True)
    results["status"] = train_script.main(["--cfg-path", str(folder / "cli.yaml"), "--options", "run.amp=true"])
    torch.save(results, folder / f"rank{rank}.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
