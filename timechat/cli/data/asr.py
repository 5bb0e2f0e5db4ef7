"""`timechat data asr`: what is said in videos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.cli.data.arguments import add_workers
from timechat.data.asr import describe, transcribe, whisper


def main(argv: Sequence[str]) -> int:
    """Transcribe; the exit status is 1 if a video failed."""
    args = _parser().parse_args(argv)
    failed = False

    def run() -> None:
        nonlocal failed
        language, compute = args.language, args.compute_type
        engine = whisper(args.model, language=language, device=args.device, compute_type=compute, workers=args.workers)
        done = transcribe(Path(args.videos), Path(args.output), engine, args.workers)
        sys.stdout.write("".join(f"{line}\n" for line in describe(done, Path(args.output))))
        failed = bool(done.failed)

    return run_main(run) or int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data asr",
        description="Transcribe the speech of all videos in a folder with faster-whisper (pip install "
        "'timechat[asr]'): one file for each, with lines of start, end (seconds) and sentence. Run "
        "again, it does what is left.",
    )
    parser.add_argument("videos", type=path, help="their folder; what is below it counts")
    parser.add_argument("--output", type=path, required=True, help="folder of the transcripts")
    about = "folder of a model for CTranslate2, or the name of one, such as small.en, which may be downloaded"
    parser.add_argument("--model", type=path, required=True, help=about)
    parser.add_argument("--language", help="such as en (default: detected, for each video)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--compute-type", default="default", help="such as int8 or float16 (default: the model's own)")
    add_workers(parser, "videos side by side", default=1)
    return parser
