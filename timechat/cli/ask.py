"""Ask a model about a video: the answer, and a table of the parts of the video that it names.

timechat ask v.mp4 "When does she crack the egg?"
timechat ask v.mp4 "she cracks the egg" --task ground --model my_model --json | jq .segments
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from timechat.app.answer import TASKS, Answer, Segment
from timechat.app.api import load
from timechat.cli.common import add_options, path, run_main
from timechat.errors import ConfigError
from timechat.evaluation.tables import MISSING, text_table

DEFAULT_MODEL = "eval_configs/timechat.yaml"
NOTHING_FOUND = 3
_STATUS = (
    "exit status: 0; 1 after an error, which stands on stderr; 2 for a wrong command line; "
    f"{NOTHING_FOUND} if --task was given and the answer names no part of the video"
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="timechat ask", description="Ask a model about a video.", epilog=_STATUS)
    add = parser.add_argument
    add("video", type=path, metavar="VIDEO", help="a video, or an image")
    add("question", metavar="QUESTION", nargs="?", default="", help="a question; with --task, what is looked for")
    add(
        "--model",
        type=path,
        metavar="MODEL",
        help=f"YAML file, folder of a saved model, or hub id (default: {DEFAULT_MODEL})",
    )
    add_options(parser, "model.ckpt=other.pth")
    add("--task", choices=TASKS, help="ask for times, captions with times (needs no QUESTION), or highlights")
    add(
        "--asr",
        type=path,
        metavar="FILE",
        help="put transcribed speech before the question: .srt, .vtt, .tsv or Whisper's .json",
    )
    add("--system", metavar="TEXT", help="system sentence (default: the config's)")
    add("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: run.device)")
    add("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (default: %(default)s)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default), above 0 samples")
    add("--top-p", type=float, default=1.0, metavar="P", help="with --temperature (default: %(default)s)")
    add("--seed", type=int, default=42, metavar="S", help="with --temperature (default: %(default)s)")
    add("--json", action="store_true", help="print one JSON object: text, segments, seconds of the frames")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, ask; returns the exit status."""
    args = build_parser().parse_args(argv)
    found = True

    def run() -> None:
        nonlocal found
        answer = _ask(args)
        found = bool(answer.segments) or args.task is None
        sys.stdout.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n" if args.json else _shown(answer))

    status = run_main(run)
    return status or (0 if found else NOTHING_FOUND)


def _ask(args: argparse.Namespace) -> Answer:
    _check(args)
    model = load(args.model or DEFAULT_MODEL, options=args.options, device=args.device)
    torch.manual_seed(args.seed)
    return model.ask(
        args.video,
        args.question,
        task=args.task,
        system=args.system,
        max_new_tokens=args.max_new_tokens,
        do_sample=args.temperature > 0,
        temperature=args.temperature,
        top_p=args.top_p,
        asr=args.asr,
    )


def _check(args: argparse.Namespace) -> None:
    """What can be seen before the weights are loaded. Raises ConfigError."""
    if args.model is None and not Path(DEFAULT_MODEL).is_file():
        raise ConfigError(
            f"there is no {DEFAULT_MODEL} in this folder; name a model: --model with a YAML file, the folder of a "
            "saved model, or a hub id"
        )
    if not args.question.strip() and args.task != "caption":
        raise ConfigError("no QUESTION: say what you want to know, or ask for captions with --task caption")
    if not Path(args.video).is_file():
        raise ConfigError(f"{args.video}: no such video")
    if not -(2**63) <= args.seed < 2**64:
        raise ConfigError(f"--seed {args.seed}: give a number of 64 bits, such as 42")
    if args.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens {args.max_new_tokens}: give 1 or more")
    if args.temperature < 0:
        raise ConfigError(f"--temperature {args.temperature}: 0 is greedy, above 0 samples")
    if not 0 < args.top_p <= 1:
        raise ConfigError(f"--top-p {args.top_p}: give a number above 0, up to 1")


def _shown(answer: Answer) -> str:
    """The text, and a table below it where it names parts of the video."""
    if not answer.segments:
        return f"{answer.text}\n"
    return f"{answer.text}\n\n{text_table(('start', 'end', 'text', 'score'), list(map(_row, answer.segments)))}"


def _row(segment: Segment) -> list[str]:
    score = MISSING if segment.score is None else f"{segment.score:g}"
    return [f"{segment.start:.1f}", f"{segment.end:.1f}", segment.text or MISSING, score]


if __name__ == "__main__":
    sys.exit(main())
