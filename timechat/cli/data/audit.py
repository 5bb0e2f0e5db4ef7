"""`timechat data audit`: what is wrong with annotations and videos, and a manifest that leaves it out of training."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from timechat.cli.common import add_options, path, run_main
from timechat.cli.data.arguments import add_target, add_workers
from timechat.data.audit.faults import FAULTS, UNFIT
from timechat.data.audit.report import coverage_page, summary, write_audit_manifest
from timechat.data.audit.run import Audit, Settings, audit
from timechat.data.audit.targets import Target, targets_of
from timechat.data.audit.videos import DECODE, HEADER
from timechat.datasets.manifest import Manifest, earlier_manifest
from timechat.errors import ConfigError
from timechat.io import write_text
from timechat.locks import FolderLock
from timechat.wording import counted

COVERAGE = "coverage.md"
_ABOUT_OUTPUT = "folder of the results, of one annotation file or config (default: runs/audit/NAME)"


def main(argv: Sequence[str] | None = None) -> int:
    """Audit what is named; returns the exit status, 1 if there are faults."""
    args = _parser().parse_args(argv)
    audits: list[Audit] = []
    return run_main(lambda: audits.extend(_audit_all(args))) or int(any(one.findings.counts for one in audits))


def _audit_all(args: argparse.Namespace) -> list[Audit]:
    """Audit each dataset, and write what was found. Raises ConfigError: what is asked for cannot be."""
    _check(args)
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
    _keep_others(output, targets)
    lock = FolderLock(output, f"--output={output}", "is auditing into it")
    lock.acquire()
    try:
        audits = []
        for target in targets:
            faults, looks = output / f"{target.name}.faults.jsonl", output / f"{target.name}.looks.jsonl"
            audits.append(audit(target, settings, faults, looks))
            place = output / f"{target.name}.manifest.json"
            before = earlier_manifest(place)
            manifest = write_audit_manifest(audits[-1], place)
            lines = [*summary(audits[-1]), f"  all faults: {faults}", *_use(audits[-1], manifest)]
            if before and before[1].digest != manifest.digest:
                lines.append(f"  written over the manifest of an earlier audit, by which {_lost(before[1])} left out")
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        write_text(output / COVERAGE, coverage_page(audits))
        sys.stdout.write(f"coverage by source, and where missing videos can be had: {output / COVERAGE}\n")
    finally:
        lock.release()
    return audits


def _lost(manifest: Manifest) -> str:
    return counted(len(manifest.numbers), "item was", "items were")


def _check(args: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that cannot be met."""
    if args.videos_dir is not None and not Path(args.videos_dir).is_dir():
        raise ConfigError(f"--videos-dir={args.videos_dir}: no such folder; give that of the videos")
    if both := [fault for fault in FAULTS if fault in {*args.leave_out} & {*args.keep}]:
        raise ConfigError(f"--leave-out and --keep both name {', '.join(both)}; name it in one of them")


def _keep_others(output: Path, targets: Sequence[Target]) -> None:
    """Raise ConfigError if a folder holds the audit of another annotation file, which would be overwritten."""
    own = {os.path.realpath(target.annotations) for target in targets}
    for file in sorted(output.glob("*.manifest.json")):
        found = earlier_manifest(file)
        if found and os.path.realpath(found[0]) not in own:
            folder = Path(targets[0].annotations).resolve().parent.name
            raise ConfigError(
                f"{file}: is the manifest of another annotation file, {found[0]}; give another folder, such as "
                f"--output {output.with_name(f'{folder}_{output.name}')}"
            )


def _use(found: Audit, manifest: Manifest) -> Iterator[str]:
    """How to train without what is left out, if there is anything else."""
    target = found.target
    if not found.left:
        yield "  nothing is left to train on"
    elif manifest.numbers and target.of_config:
        yield f"  to train without them: datasets.{target.name}.build_info.manifest={manifest.path}"
    elif manifest.numbers:
        yield f"  to train without them: manifest: {manifest.path} in build_info of the dataset that reads this file,"
        yield f"    or --options datasets.NAME.build_info.manifest={manifest.path}, NAME being what the config calls it"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data audit",
        description="Check annotations and their videos, and write a manifest that leaves out of training what cannot "
        "be used. An audit that was stopped goes on where it stopped; videos that have not changed are not looked at "
        "again. The exit status is 1 if there are faults.",
    )
    add_target(parser)
    parser.add_argument("--output", type=path, help=_ABOUT_OUTPUT)
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
