#!/usr/bin/env python
"""Evaluate TimeChat on a benchmark: predict, parse, score, report.

python evaluate.py --cfg-path eval_configs/timechat.yaml --benchmark charades_sta \\
    --anno-path charades_sta_test.txt --videos-dir data/charades/videos --output-dir runs/eval/charades
torchrun --nproc_per_node=8 evaluate.py ...    # a killed run continues when it is started again
"""

from __future__ import annotations

import argparse
import sys

from timechat.cli import config_parser, run_main
from timechat.config import load_config
from timechat.evaluation.benchmarks import BENCHMARKS
from timechat.evaluation.report import score_table
from timechat.evaluation.run import Evaluation, evaluate
from timechat.runners.engines import resolve_device


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = config_parser("Evaluate TimeChat on a benchmark: predict, parse, score, report.")
    add = parser.add_argument
    add("--benchmark", required=True, metavar="NAME", help=", ".join(BENCHMARKS))
    add("--anno-path", required=True, metavar="FILE", help="annotations in the benchmark's own format")
    add("--videos-dir", required=True, metavar="DIR", help="folder that the videos' names are relative to")
    add("--output-dir", required=True, metavar="DIR", help="gets the answers, scores.json and report.md")
    add("--ckpt", metavar="FILE", help="checkpoint in place of model.ckpt")
    add("--prompt-file", metavar="FILE", help="prompt in place of the one under prompts/")
    add("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (default: %(default)s)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default), above 0 samples")
    add("--top-p", type=float, default=1.0, metavar="P", help="with --temperature (default: %(default)s)")
    add("--seed", type=int, metavar="S", help="with --temperature (default: run.seed)")
    add("--limit", type=int, metavar="N", help="ask the first N questions alone")
    add("--clip-of-time", metavar="RULE", help="qvhighlights: published (default), or start: t is where a clip begins")
    add("--overwrite", action="store_true", help="throw away the answers of an earlier run")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the config, evaluate; returns the exit status."""
    arguments = vars(build_parser().parse_args(argv))
    cfg_path, options = arguments.pop("cfg_path"), arguments.pop("options")

    def run() -> None:
        cfg = load_config(cfg_path, options)
        record = evaluate(cfg, Evaluation(**arguments), resolve_device(cfg.run.device))
        sys.stdout.write(score_table(record) if record else "")

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
