"""Train TimeChat.

timechat train --cfg-path X.yaml --options run.max_epoch=1      # one process
timechat train --cfg-path X.yaml --dry-run                      # parameters, tokens, schedule, memory, what is missing
torchrun --nproc_per_node=8 train.py --cfg-path train_configs/stage2_finetune_time104k_asr_valley72k.yaml
torchrun --nproc_per_node=8 -m timechat.cli.train --cfg-path X.yaml     # the same without a checkout
"""

from __future__ import annotations

import logging
import sys

from omegaconf import DictConfig

from timechat import distributed
from timechat.cli.common import config_parser, run_main
from timechat.config import load_config
from timechat.runners import build_runner
from timechat.runners.dry_run import dry_run
from timechat.runners.signals import StopTraining, stop_signals

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Parse, load the config, build, train; returns the exit status."""
    parser = config_parser("Train TimeChat as a YAML file describes.", "timechat train")
    parser.add_argument("--dry-run", action="store_true", help="print what the config would do; reads no weights")
    args = parser.parse_args(argv)
    status = 0

    def run() -> None:
        nonlocal status
        cfg = load_config(args.cfg_path, args.options)
        if not args.dry_run:
            _train(cfg)
        elif distributed.is_main_process():
            found = dry_run(cfg)
            sys.stdout.write(found.text)
            status = found.exit_status

    return run_main(run) or status


def _train(cfg: DictConfig) -> None:
    """Train, and heed the signals that ask for a stop from the beginning."""
    with stop_signals:
        try:
            runner = build_runner(cfg)
        except StopTraining as stop:
            logger.warning("%s: nothing was learned and nothing is lost; start it again with the same command", stop)
            return
        runner.train()


if __name__ == "__main__":
    sys.exit(main())
