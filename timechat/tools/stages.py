"""Train stage after stage with train.py, each from the checkpoints of those before it.

    python -m timechat.tools.stages train_configs/quickstart/[1-4]_*.yaml --nproc 2 --output runs/quickstart

Each stage is an ordinary config, which `torchrun train.py --cfg-path` trains as well. A stage that is finished is not
trained again, unless its config, its options or a stage before it changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from timechat.cli import run_main
from timechat.config import load_config
from timechat.errors import ConfigError, TrainingError

logger = logging.getLogger(__name__)

FINISHED = "finished.json"
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
_CHAINED = ("ckpt", "ckpt_2")


def train_stages(configs: Sequence[str], output: str | Path, nproc: int = 1, options: Sequence[str] = ()) -> Path:
    """Train the stages that are not finished yet.

    Args:
        configs: the stages' YAML files in order. The folder above a stage's `run.output_dir` stands for `output`: a
            checkpoint below it that `model.ckpt` or `model.ckpt_2` names is looked for below `output`.
        output: gets one folder a stage, named as the last part of its `run.output_dir`.
        nproc: processes of each training.
        options: config overrides for every stage.

    Returns:
        The last stage's checkpoint.

    Raises:
        ConfigError: as of the stages' configs.
        TrainingError: a training stopped.
    """
    if not configs:
        raise ConfigError("no stage is given: name at least one YAML file")
    before = ""
    for config in configs:
        overrides = [*options, *_moved(load_config(config, options), Path(output))]
        cfg = load_config(config, overrides)
        folder = Path(cfg.run.output_dir)
        before = _fingerprint(cfg, before)
        checkpoint = folder / f"checkpoint_{cfg.run.max_epoch - 1}.pth"
        if _is_finished(folder, before) and checkpoint.is_file():
            logger.info("%s is finished", folder)
            continue
        _train(config, overrides, folder, nproc)
        (folder / FINISHED).write_text(json.dumps({"fingerprint": before}) + "\n")
    return checkpoint


def _moved(cfg: DictConfig, output: Path) -> list[str]:
    """Options that put a stage, and the checkpoints that it starts from, below `output`."""
    written = Path(cfg.run.output_dir)
    moved = [f"run.output_dir={output / written.name}"]
    for key in _CHAINED:
        path = Path(cfg.model[key])
        if path.is_relative_to(written.parent):
            moved.append(f"model.{key}={output / path.relative_to(written.parent)}")
    return moved


def _fingerprint(cfg: DictConfig, before: str) -> str:
    text = json.dumps([OmegaConf.to_container(cfg), before], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_finished(folder: Path, fingerprint: str) -> bool:
    marker = folder / FINISHED
    return marker.is_file() and json.loads(marker.read_text()).get("fingerprint") == fingerprint


def _train(config: str, options: Sequence[str], folder: Path, nproc: int) -> None:
    if folder.is_dir():  # an unfinished training, or one of other settings: a stage takes minutes, so it begins anew
        shutil.rmtree(folder)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={nproc}"]
    command = [*(launch if nproc > 1 else [sys.executable]), str(TRAIN), "--cfg-path", config, "--options", *options]
    logger.info("%s", " ".join(command))
    status = subprocess.run(command, check=False).returncode
    if status:
        raise TrainingError(f"{config}: its training stopped with status {status}, see above; start the command again")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train stage after stage, each from those before it.")
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="YAML files of the stages, in order")
    parser.add_argument("--output", required=True, metavar="DIR", help="gets one folder for each stage")
    parser.add_argument("--nproc", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every stage")
    args = parser.parse_args(argv)
    return run_main(lambda: train_stages(args.configs, args.output, args.nproc, args.options) and None)


if __name__ == "__main__":
    sys.exit(main())
