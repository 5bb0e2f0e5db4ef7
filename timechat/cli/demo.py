"""Ask a video in the browser: a page on this machine, with a player, a timeline and a conversation.

timechat demo
timechat demo --cfg-path eval_configs/timechat.yaml --examples my_videos
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from timechat.app.api import YAML_SUFFIXES, load
from timechat.cli.asking import add_prompts, must_be_prompts
from timechat.cli.common import add_options, path, run_main
from timechat.config import load_config
from timechat.errors import ConfigError, MissingFilesError
from timechat.models.required_files import missing_model_files
from timechat.registry import nearest
from timechat.sources import raise_missing

if TYPE_CHECKING:
    from timechat.app.web.model import SharedModel

DEFAULTS_FILE = "demo.yaml"
PUBLISHED = "eval_configs/timechat.yaml"


@dataclass(frozen=True)
class Defaults:
    """What `demo.yaml` of the folder says; each is what the argument of its name says.

    Attributes:
        cfg_path: the model.
        made_by: a command that makes the model and the examples where they are missing.
        examples: folder.
        prompts: folder.
        suggestions: questions to begin with.
    """

    cfg_path: str = PUBLISHED
    made_by: str = ""
    examples: str | None = None
    prompts: str | None = None
    suggestions: list[str] = field(default_factory=list)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat demo",
        description="Open a page in which people ask videos, on this machine.",
        epilog=f"What is not given is taken from {DEFAULTS_FILE} in this folder, if there is one; with --cfg-path only "
        "the examples are.",
    )
    add = parser.add_argument
    add("--cfg-path", type=path, metavar="MODEL", help="YAML file, folder of a saved model, or hub id")
    add_options(parser, "model.ckpt=other.pth")
    add("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: run.device)")
    add_prompts(parser)
    add("--examples", type=path, metavar="DIR", help="videos and images to pick from")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in (%(default)s)")
    add("--port", type=int, default=7860, help="port to listen on; 0 takes the next free one (%(default)s)")
    add("--share", action="store_true", help="a public address for three days, through a server of gradio's")
    add("--max-upload-mb", type=float, default=500, metavar="MB", help="largest file that is taken (%(default)g)")
    add("--max-minutes", type=float, default=240, metavar="MIN", help="longest video that is taken (%(default)g)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, serve until Ctrl-C; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_main(lambda: _serve(args))


def _serve(args: argparse.Namespace) -> None:
    from timechat.app.web.launch import PageSettings, serve  # says what to install before anything is loaded

    _check(args)
    defaults = read_defaults(Path(DEFAULTS_FILE))
    own_model = args.cfg_path is not None
    model = load_shared(args, defaults, None if own_model else defaults.prompts)
    examples = args.examples or (defaults.examples if Path(defaults.examples or "").is_dir() else None)
    settings = PageSettings(
        host=args.host,
        port=args.port,
        share=args.share,
        examples=examples,
        suggestions=[] if own_model else defaults.suggestions,
        max_upload_mb=args.max_upload_mb,
        max_minutes=args.max_minutes,
    )
    serve(model, args.cfg_path or defaults.cfg_path, settings)


def load_shared(args: argparse.Namespace, defaults: Defaults, prompts: str | None) -> SharedModel:
    """The model that the arguments name, or else `defaults`.

    Args:
        args: of `build_parser`.
        defaults: of the folder.
        prompts: folder with the prompts of the tasks, where the arguments name none.

    Raises:
        ConfigError, CheckpointError: it cannot be built; MissingFilesError, a ConfigError, before any file is read.
    """
    from timechat.app.web.model import SharedModel

    source = args.cfg_path or defaults.cfg_path
    if args.cfg_path is None and not Path(source).is_file():
        raise ConfigError(f"there is no {source} in this folder; name a model with --cfg-path")
    _must_have_files(source, args.options, "" if args.cfg_path else defaults.made_by)
    model = load(source, options=args.options, device=args.device)
    model.prompts = Path(args.prompts or prompts or model.prompts)
    return SharedModel(model)


def _must_have_files(source: str, options: Sequence[str], made_by: str) -> None:
    """Raise MissingFilesError, naming all files of a YAML file's model that are missing, before any is read."""
    if Path(source).suffix.lower() not in YAML_SUFFIXES:
        return
    missing = list(missing_model_files(load_config(source, options).model))
    if missing and made_by:
        listed = "".join(f"\n  {line}" for line in missing)
        raise MissingFilesError(f"the model of {source} is not there yet; make it first: {made_by}{listed}")
    raise_missing(missing)


def read_defaults(file: Path) -> Defaults:
    """What a folder's `demo.yaml` says; without the file, the published model. Raises ConfigError."""
    if not file.is_file():
        return Defaults()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not YAML ({error}); correct it") from error
    known = Defaults.__dataclass_fields__
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: expected keys and values; the keys are {', '.join(known)}")
    for key in content:
        if key not in known:
            raise ConfigError(f"{file}: no key {key!r}{nearest(str(key), list(known))}; there are {', '.join(known)}")
    return Defaults(**content)


def _check(args: argparse.Namespace) -> None:
    """What can be seen before the weights are loaded. Raises ConfigError."""
    must_be_prompts(args.prompts)
    if not 0 <= args.port < 1 << 16:
        raise ConfigError(f"--port {args.port}: give a number from 0 to 65535")
    if args.max_upload_mb <= 0:
        raise ConfigError(f"--max-upload-mb {args.max_upload_mb:g}: give more than 0")
    if args.max_minutes <= 0:
        raise ConfigError(f"--max-minutes {args.max_minutes:g}: give more than 0")
    if args.examples and not Path(args.examples).is_dir():
        raise ConfigError(f"--examples {args.examples}: no such folder; name one with videos in it")


if __name__ == "__main__":
    sys.exit(main())
