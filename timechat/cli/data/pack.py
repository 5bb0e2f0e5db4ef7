"""`timechat data pack`: an annotation file and a folder of videos as tar shards."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.cli.data.arguments import add_workers
from timechat.data.pack import Packing, describe, pack

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def main(argv: Sequence[str]) -> int:
    """Pack; the exit status is 1 if a shard could not be written."""
    args = _parser().parse_args(argv)
    failed = False

    def run() -> None:
        nonlocal failed
        anno = Path(args.annotations)
        job = Packing(
            annotations=anno,
            videos_dir=Path(args.videos_dir),
            output=Path(args.output),
            name=args.name or re.sub(r"[^\w-]", "_", anno.stem),
            shard_bytes=args.shard_size,
            seed=None if args.keep_order else args.seed,
            manifest=Path(args.manifest) if args.manifest else None,
            drop=args.missing == "drop",
            workers=args.workers,
        )
        packed = pack(job)
        sys.stdout.write("".join(f"{line}\n" for line in describe(packed, job)))
        failed = bool(packed.failures)

    return run_main(run) or int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data pack",
        description="Write videos and their annotations into tar shards (webdataset) with indexes, for "
        "builder: shards. Interrupted, the same command goes on. Neither annotations nor videos are changed.",
    )
    parser.add_argument("annotations", type=path, help="annotation file: a JSON list, or JSON lines")
    parser.add_argument("--videos-dir", type=path, required=True, help="the folder that its paths are relative to")
    parser.add_argument("--output", type=path, required=True, help="folder of the shards")
    parser.add_argument("--name", type=_name, help="what their names begin with (default: that of the annotations)")
    parser.add_argument("--shard-size", type=_bytes, default="1GB", help="bytes of a shard (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random order of videos (default: %(default)s)")
    parser.add_argument("--keep-order", action="store_true", help="keep the order of the annotations instead")
    parser.add_argument("--manifest", type=path, help="of timechat data audit: what it leaves out is not packed")
    about = "videos that are not there: stop, or pack the others and list them (default: %(default)s)"
    parser.add_argument("--missing", choices=("error", "drop"), default="error", help=about)
    add_workers(parser, "shards written side by side", default=4)
    return parser


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500MB or 1GB")
    return size


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: use letters, digits, _ and -")
    return text
