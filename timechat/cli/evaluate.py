"""Evaluate TimeChat on a benchmark: predict, parse, score, report.

timechat evaluate --cfg-path eval_configs/timechat.yaml --benchmark charades_sta \\
    --anno-path data/Charades/charades_annotation/charades_sta_test.txt --videos-dir data/Charades/videos \\
    --output-dir runs/eval/charades
torchrun --nproc_per_node=8 evaluate.py ...    # a killed run continues when it is started again

Several evaluations in one process load the model once: what stands before the first `--and` belongs to all of them.

timechat evaluate --cfg-path eval_configs/timechat.yaml \\
    --and --benchmark charades_sta --anno-path ... --and --benchmark youcook2 --anno-path ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from timechat.cli.benchmark_arguments import add_benchmark_arguments, add_scoring_arguments
from timechat.cli.common import config_parser, path, run_main
from timechat.config import load_config
from timechat.device import resolve_device
from timechat.evaluation.benchmarks.options import parse_options
from timechat.evaluation.report import score_table
from timechat.evaluation.request import Evaluation
from timechat.evaluation.run import evaluate
from timechat.evaluation.video_models import ModelBuilder

FEWER = "the others do not count, and an output folder with scores of more questions is refused"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = config_parser("Evaluate TimeChat on a benchmark: predict, parse, score, report.", "timechat evaluate")
    parser.epilog = (
        "Several evaluations, for which the model is loaded once: COMMON ARGUMENTS --and ARGUMENTS --and ARGUMENTS ..."
    )
    add = parser.add_argument
    add_benchmark_arguments(parser)
    add("--videos-dir", required=True, type=path, metavar="DIR", help="folder that the video paths are relative to")
    add("--output-dir", required=True, type=path, metavar="DIR", help="gets the answers, scores.json and report.md")
    add("--ckpt", type=path, metavar="FILE", help="checkpoint instead of model.ckpt")
    add("--prompt-file", type=path, metavar="FILE", help="prompt instead of the one under prompts/")
    add(
        "--asr",
        type=path,
        metavar="DIR",
        help="put transcribed speech before the prompts: VIDEO.json, .srt, .vtt or .tsv in DIR",
    )
    add_generation_arguments(parser)
    add_scoring_arguments(parser, FEWER)
    add("--overwrite", action="store_true", help="discard the answers of an earlier run")
    return parser


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """How answers are generated."""
    add = parser.add_argument
    add("--max-new-tokens", type=int, metavar="N", help="longest answer (default: the benchmark's)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default), above 0 samples")
    add("--top-p", type=float, default=1.0, metavar="P", help="with --temperature (default: %(default)s)")
    add("--seed", type=int, metavar="S", help="with --temperature (default: run.seed)")
    add(
        "--seeds",
        type=int,
        metavar="N",
        help="with --temperature: N runs from --seed on, and their mean and standard deviation",
    )
    add("--num-beams", type=int, default=1, metavar="N", help="beam search, not with --temperature (default: none)")


def main(argv: list[str] | None = None) -> int:
    """Parse, load the config, evaluate; returns the exit status."""

    def run() -> None:
        parser, builder = build_parser(), ModelBuilder()  # the parser's help names what plug-ins offer
        for line in [parser.parse_args(words) for words in command_lines(sys.argv[1:] if argv is None else argv)]:
            _evaluate(vars(line), builder)

    return run_main(run)


def command_lines(words: Sequence[str]) -> list[Sequence[str]]:
    """The command line of each evaluation: what stands before the first `--and` belongs to all of them."""
    ands = [place for place, word in enumerate(words) if word == "--and"]
    if not ands:
        return [words]
    return [[*words[: ands[0]], *words[start + 1 : end]] for start, end in pairwise([*ands, len(words)])]


def _evaluate(arguments: dict[str, Any], builder: ModelBuilder) -> None:
    cfg = load_config(arguments.pop("cfg_path"), arguments["options"])
    arguments["benchmark_options"] = parse_options(arguments["benchmark_options"], arguments["benchmark"])
    record = evaluate(cfg, Evaluation(**arguments), resolve_device(cfg.run.device), builder=builder)
    sys.stdout.write(score_table(record) if record else "")


if __name__ == "__main__":
    sys.exit(main())
