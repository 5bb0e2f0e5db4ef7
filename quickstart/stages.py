"""Train stages, each from the checkpoints of earlier ones.

    python -m quickstart.stages quickstart/configs/[1-6]_*.yaml --nproc 2 --output runs/quickstart --options run.seed=2

Each stage is an ordinary config, which `torchrun train.py --cfg-path` can train as well. A finished stage is not
trained again, and an interrupted one resumes from its newest checkpoint, unless its config, its options, its
annotations, its tokenizers or a stage whose checkpoint it starts from changed.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from quickstart.children import alone_in, run_forks, stopping_children
from quickstart.stage_configs import CHAINED, load_stage, moved
from timechat.cli.common import add_options, path, run_main
from timechat.cli.train import main as train
from timechat.config import load_config
from timechat.errors import ConfigError, TrainingError
from timechat.io import file_state, sha256_of, write_text
from timechat.runners.checkpointing import BEST_FILE
from timechat.runners.records import has_ended

logger = logging.getLogger(__name__)

STARTED, FINISHED = "started.txt", "finished.txt"


def train_stages(configs: Sequence[str], output: str | Path, nproc: int = 1, options: Sequence[str] = ()) -> Path:
    """Train the stages that are not finished yet.

    Args:
        configs: the stages' YAML files in order. `output` replaces the folder above a stage's `run.output_dir`, also in
            `model.ckpt` and `model.ckpt_2` if they name a checkpoint below that folder.
        output: gets one folder per stage, named after the last part of its `run.output_dir`.
        nproc: processes of each training.
        options: config overrides for every stage.

    Returns:
        The last stage's checkpoint.

    Raises:
        ConfigError: from the stages' configs, all of which are read first; no stage, or no process; a stage's folder
            contains files of something else.
        TrainingError: a training stopped, or another process is training there.
    """
    if not configs:
        raise ConfigError("no stage is given: name at least one YAML file")
    if nproc < 1:
        raise ConfigError(f"--nproc={nproc}: give 1 or more")
    for config in configs:
        load_stage(config, output, options)  # finds a mistake in the last one before the first is trained
    for config in configs:
        written, cfg = load_config(config, options), load_stage(config, output, options)
        folder = Path(cfg.run.output_dir)
        fingerprint = _fingerprint(written, cfg)
        checkpoint = folder / checkpoint_name(cfg)
        if _marked(folder / FINISHED) == fingerprint and checkpoint.is_file():
            logger.info("%s is finished", folder)
            continue
        with alone_in(folder):
            if _marked(folder / STARTED) != fingerprint:
                _remove(folder)
            write_text(folder / STARTED, f"{fingerprint}\n")
            _train(config, [*options, *moved(written, Path(output))], checkpoint, nproc)
            write_text(folder / FINISHED, f"{fingerprint}\n")
    return checkpoint


def checkpoint_name(cfg: DictConfig) -> str:
    """The file that a stage leaves in its folder: its last epoch's, or the best one if it ends at a score."""
    return BEST_FILE if cfg.run.stop_at_score is not None else f"checkpoint_{cfg.run.max_epoch - 1}.pth"


def _fingerprint(written: DictConfig, moved: DictConfig) -> str:
    """Changes with the config as written, wherever its output is, and with the files that it starts from."""
    before = [_marked(Path(moved.model[key]).parent / FINISHED) for key in CHAINED if moved.model[key]]
    files = [moved.model.llama_model, moved.model.qformer_tokenizer]
    files += [dataset.build_info.anno_dir for dataset in moved.datasets.values()]
    known = [OmegaConf.to_container(written), before, [file_state(file) for file in files if file]]
    return sha256_of(json.dumps(known, sort_keys=True))


def _marked(marker: Path) -> str:
    """The fingerprint of the stage that was started or finished there; empty without one."""
    return marker.read_text(encoding="utf-8").strip() if marker.is_file() else ""


def _remove(folder: Path) -> None:
    """Remove a stage that has other settings. Raises ConfigError: the folder is not known to be one."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir() and any(folder.iterdir()):
        if not (folder / STARTED).is_file():
            raise ConfigError(
                f"{folder}: contains files, but no {STARTED}, so this command did not write them; move them away, or "
                "give another --output"
            )
        logger.warning("%s: training again, because settings or data have changed", folder)
        shutil.rmtree(folder)


def _train(config: str, options: Sequence[str], checkpoint: Path, nproc: int) -> None:
    """Train a stage to its end, from its newest checkpoint on. Raises TrainingError."""
    arguments = ["--cfg-path", config, "--options", *options]
    logger.info("timechat train %s", " ".join(arguments))
    status = run_forks(nproc, partial(train, arguments))
    if status:
        raise TrainingError(f"{config}: its training stopped with status {status}, see above; start the command again")
    if not has_ended(checkpoint.parent):  # it was asked to stop, and saved what it had learned
        raise TrainingError(f"{config}: its training is not finished; start the command again to continue it")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Train stages, each from the checkpoints of earlier ones.")
    parser.add_argument("configs", nargs="+", type=path, metavar="CONFIG", help="YAML files of the stages, in order")
    parser.add_argument("--output", required=True, type=path, metavar="DIR", help="gets one folder for each stage")
    parser.add_argument("--nproc", type=int, default=1, help="processes (default: %(default)s)")
    add_options(parser, "run.seed=1; they go to every stage")
    args = parser.parse_args(argv)
    with stopping_children():
        return run_main(lambda: train_stages(args.configs, args.output, args.nproc, args.options) and None)


if __name__ == "__main__":
    sys.exit(main())
