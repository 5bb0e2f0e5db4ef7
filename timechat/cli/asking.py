"""What the verbs that ask a model share: which model, how it answers, and checks before the weights are loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from timechat.app.api import VideoLanguageModel, load
from timechat.app.defaults import DEFAULT_MODEL, default_model
from timechat.cli.common import add_options, path
from timechat.errors import ConfigError


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a model."""
    parser.add_argument(
        "--model",
        type=path,
        metavar="MODEL",
        help=f"YAML file, folder of a saved model, or hub id (default: {DEFAULT_MODEL})",
    )
    add_options(parser, "model.ckpt=other.pth")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: run.device)")
    add_prompts(parser)


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """The argument for a model that was trained with other words than the benchmarks'."""
    parser.add_argument(
        "--prompts",
        type=path,
        metavar="DIR",
        help="folder of the tasks' prompts: grounding.txt, dense_captioning.txt, highlights.txt (default: the "
        "benchmarks')",
    )


def add_speech(parser: argparse.ArgumentParser, before: str) -> None:
    """The argument that names a transcript."""
    parser.add_argument(
        "--asr",
        type=path,
        metavar="FILE",
        help=f"put transcribed speech before {before}: .srt, .vtt, .tsv or Whisper's .json",
    )


def add_generation(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how it answers."""
    add = parser.add_argument
    add("--system", metavar="TEXT", help="system sentence (default: the config's)")
    add("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (default: %(default)s)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default), above 0 samples")
    add("--top-p", type=float, default=1.0, metavar="P", help="with --temperature (default: %(default)s)")
    add("--seed", type=int, default=42, metavar="S", help="with --temperature (default: %(default)s)")


def check(args: argparse.Namespace) -> None:
    """What can be seen before the weights are loaded. Raises ConfigError."""
    must_be_prompts(args.prompts)
    if args.video is not None and not Path(args.video).is_file():
        raise ConfigError(f"{args.video}: no such video")
    if not -(2**63) <= args.seed < 2**64:
        raise ConfigError(f"--seed {args.seed}: give a number of 64 bits, such as 42")
    if args.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens {args.max_new_tokens}: give 1 or more")
    if args.temperature < 0:
        raise ConfigError(f"--temperature {args.temperature}: 0 is greedy, above 0 samples")
    if not 0 < args.top_p <= 1:
        raise ConfigError(f"--top-p {args.top_p}: give a number above 0, up to 1")


def must_be_prompts(folder: str | None) -> None:
    """Raise ConfigError if `--prompts` names no folder."""
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f"--prompts {folder}: no such folder")


def load_named(args: argparse.Namespace) -> VideoLanguageModel:
    """The model that is named, with its prompts. Raises ConfigError, CheckpointError."""
    model = load(args.model or default_model(args.options), options=args.options, device=args.device)
    if args.prompts is not None:
        model.prompts = Path(args.prompts)
    return model


def load_model(args: argparse.Namespace) -> VideoLanguageModel:
    """The model that is named, with the generator of `--seed`. Raises ConfigError, CheckpointError."""
    model = load_named(args)
    torch.manual_seed(args.seed)
    return model


def generation(args: argparse.Namespace) -> dict[str, Any]:
    """Options for `VideoLanguageModel.stream`."""
    return {
        "max_new_tokens": args.max_new_tokens,
        "do_sample": args.temperature > 0,
        "temperature": args.temperature,
        "top_p": args.top_p,
    }
