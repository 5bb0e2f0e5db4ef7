"""`timechat data audit`: what is wrong with annotations and videos, and a manifest that leaves it out of training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import add_options, path, run_main
from timechat.cli.data.arguments import add_target, add_workers
from timechat.data.audit.faults import FAULTS, UNFIT
from timechat.data.audit.report import coverage_page, summary, write_audit_manifest
from timechat.data.audit.run import Audit, Settings, audit
from timechat.data.audit.targets import targets_of
from timechat.data.audit.videos import DECODE, HEADER
from timechat.io import write_text
from timechat.locks import FolderLock

COVERAGE = "coverage.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Audit what is named; returns the exit status, 1 if there are faults."""
    args = _parser().parse_args(argv)
    audits: list[Audit] = []
    return run_main(lambda: audits.extend(_audit_all(args))) or int(any(one.findings.counts for one in audits))


def _audit_all(args: argparse.Namespace) -> list[Audit]:
    """Audit each dataset, and write what was found."""
    output = Path(args.output or Path("runs", "audit", Path(args.target).stem))
    settings = Settings(
        how=DECODE if args.decode else HEADER,
        min_seconds=args.min_seconds,
        tolerance_s=args.tolerance,
        unfit=[fault for fault in FAULTS if fault in {*UNFIT, *args.leave_out} - {*args.keep}],
        workers=args.workers,
        timeout_s=args.timeout,
    )
    targets = targets_of(args.target, args.videos_dir, args.options)
    lock = FolderLock(output, f"--output={output}", "is auditing into it")
    lock.acquire()
    try:
        audits = []
        for target in targets:
            faults, looks = output / f"{target.name}.faults.jsonl", output / f"{target.name}.looks.jsonl"
            audits.append(audit(target, settings, faults, looks))
            manifest = write_audit_manifest(audits[-1], output / f"{target.name}.manifest.json")
            lines = [*summary(audits[-1]), f"  all faults: {faults}", _use(target.name, manifest.path)]
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        write_text(output / COVERAGE, coverage_page(audits))
        sys.stdout.write(f"coverage by source, and where missing videos can be had: {output / COVERAGE}\n")
    finally:
        lock.release()
    return audits


def _use(name: str, manifest: str) -> str:
    return f"  to train without them: datasets.{name}.build_info.manifest={manifest}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data audit",
        description="Check annotations and their videos, and write a manifest that leaves out of training what cannot "
        "be used. An audit that was stopped goes on where it stopped; videos that have not changed are not looked at "
        "again. The exit status is 1 if there are faults.",
    )
    add_target(parser)
    parser.add_argument("--output", type=path, help="folder of the results (default: runs/audit/NAME)")
    parser.add_argument("--decode", action="store_true", help="decode every frame; by default headers and ends")
    add_workers(parser)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that one video may take (default: 120)")
    parser.add_argument("--min-seconds", type=float, default=1.0, help="shorter videos are too short (default: 1)")
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="seconds that a time may be beyond the video's end (default: 1)"
    )
    parser.add_argument(
        "--leave-out", nargs="+", default=[], choices=FAULTS, metavar="FAULT", help=f"besides {', '.join(UNFIT)}"
    )
    others = ", ".join(fault for fault in FAULTS if fault not in UNFIT)
    parser.add_argument(
        "--keep", nargs="+", default=[], choices=FAULTS, metavar="FAULT", help=f"count it only, as {others}"
    )
    add_options(parser, "model.max_txt_len=4096")
    return parser
