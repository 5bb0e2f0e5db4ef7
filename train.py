#!/usr/bin/env python
"""Train TimeChat.

torchrun --nproc_per_node=8 train.py --cfg-path train_configs/stage2_finetune_time104k_asr_valley72k.yaml
python train.py --cfg-path X.yaml --options run.max_epoch=1      # one process
"""

from __future__ import annotations

import sys

from timechat.cli import config_parser, run_main
from timechat.config import load_config
from timechat.runners import build_runner


def main(argv: list[str] | None = None) -> int:
    """Parse, load the config, build, train; returns the exit status."""
    args = config_parser("Train TimeChat as a YAML file says.").parse_args(argv)
    return run_main(lambda: build_runner(load_config(args.cfg_path, args.options)).train())


if __name__ == "__main__":
    sys.exit(main())
