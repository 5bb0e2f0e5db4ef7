"""Check a set-up with its real files, and explain what looks wrong. Exit status 1 if something must be fixed.

timechat doctor eval_configs/timechat.yaml video.mp4
"""

from __future__ import annotations

import argparse
import sys

from omegaconf import DictConfig

from timechat.cli.common import add_options, path, run_main
from timechat.cli.doctor.config_files import check_files
from timechat.cli.doctor.environment import check_environment
from timechat.cli.doctor.prompt import check_prompt
from timechat.cli.doctor.questions import check_answers, questions
from timechat.cli.doctor.report import Report
from timechat.cli.doctor.video import check_video
from timechat.cli.doctor.weights import check_parameters, check_weights
from timechat.config import load_config
from timechat.models import must_answer


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat doctor",
        description="Check files, weights, a video, the prompt and three answers, and explain what looks wrong.",
    )
    add = parser.add_argument
    add("config", type=path, metavar="CONFIG", help="YAML file with the sections model, datasets and run")
    add("video", type=path, metavar="VIDEO", nargs="?", help="a video to check and to ask about")
    add_options(parser, "model.ckpt=other.pth")
    add("--no-answers", action="store_true", help="do not ask the model (faster on a CPU)")
    add("--query", default="a person does something", help="query of the grounding question (default: %(default)s)")
    add("--max-new-tokens", type=int, default=256, metavar="N", help="longest answer (default: %(default)s)")
    return parser


def examine(report: Report, cfg: DictConfig, args: argparse.Namespace) -> None:
    """Write all sections and the summary into the report.

    Raises:
        ConfigError: a prompt file is missing, or the model does not answer with LLaMA.
    """
    must_answer(cfg.model, llama=True)
    asks = questions(args.query)
    device = check_environment(report, cfg)
    check_files(report, cfg)
    model = check_weights(report, cfg)
    check_parameters(report, model, device)
    video, seconds = check_video(report, cfg.model, args.video)
    check_prompt(report, cfg.model, seconds, asks[0].prompt)
    check_answers(
        report, model, video, device, asks=asks, max_new_tokens=args.max_new_tokens, wanted=not args.no_answers
    )
    report.summary()


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    report = Report()
    status = run_main(lambda: examine(report, load_config(args.config, args.options), args))
    return status or report.exit_status


if __name__ == "__main__":
    sys.exit(main())
