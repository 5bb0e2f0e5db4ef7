"""Write a model's weights for other programs, or as one folder that holds all of it.

timechat export --cfg-path X.yaml --output DIR --format llama         # LoRA merged, a plain LLaMA
timechat export --cfg-path X.yaml --output DIR --format safetensors   # everything: timechat.load("DIR")
timechat export --cfg-path X.yaml --output DIR --format peft          # LoRA alone, a peft adapter
"""

from __future__ import annotations

import argparse
import sys

from timechat.cli.common import config_parser, path, run_main
from timechat.config import IMPORT, load_config
from timechat.models import build_model
from timechat.models.export import EXPORTERS, check_export


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = config_parser(
        "Export a model: merged LLaMA, whole model as safetensors, or peft adapter.", "timechat export"
    )
    add = parser.add_argument
    add("--output", required=True, type=path, metavar="DIR", help="folder to write; must be absent or empty")
    add("--format", required=True, choices=EXPORTERS, help="what to write (docs/CHECKPOINTS.md)")
    add("--ckpt", type=path, metavar="FILE", help="checkpoint in place of model.ckpt")
    add("--overwrite", action="store_true", help="replace an earlier export in --output")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, export; returns the exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        whole = load_config(args.cfg_path, args.options)
        cfg = whole.model
        if args.ckpt is not None:
            cfg.ckpt = args.ckpt
        check_export(cfg, args.format, args.output, args.overwrite)
        more = {"imports": list(whole[IMPORT])} if args.format == "safetensors" else {}
        EXPORTERS[args.format](build_model(cfg), args.output, overwrite=args.overwrite, **more)

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
