"""Runs of the real runner with some strategies: two epochs at once, and one after the other; LoRA alone learns, too.

Run by torchrun with a folder that holds `datasets.json`, and the strategies.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from helpers.training import STEADY, training_config
from timechat import distributed
from timechat.runners import build_runner

LORA_ALONE = ("model.freeze_qformer=true", "model.frozen_video_Qformer=true", "model.frozen_llama_proj=true")
OPTIONS = ("run.iters_per_epoch=4", "run.accum_grad_iters=2", "run.clip_grad_norm=1.0", *STEADY)


def main(folder: Path, strategies: list[str]) -> None:
    """Train; what the runs wrote is the result."""
    distributed.init_process_group(torch.device("cpu"))
    datasets = json.loads((folder / "datasets.json").read_text())
    # Each process writes and reads a separate config.
    configs = folder / f"config{distributed.rank()}"
    for strategy in strategies:
        for name, epochs in (("full", 2), ("resumed", 1), ("resumed", 2), ("lora", 1), ("lora", 2)):
            options = [*OPTIONS, f"run.strategy={strategy}", f"run.max_epoch={epochs}"]
            options += LORA_ALONE if name == "lora" else ()
            output = f"run.output_dir={folder / strategy / name}"
            runner = build_runner(training_config(configs, datasets, *options, output))
            assert runner.engine.name == strategy
            runner.train()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
