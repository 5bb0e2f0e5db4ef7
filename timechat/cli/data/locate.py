"""`timechat data locate`: videos that lie under other names than annotations say, and links to them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from timechat.cli.common import add_options, path, run_main
from timechat.cli.data.arguments import add_target
from timechat.data.audit.targets import Target, targets_of
from timechat.data.locate import Located, link, locate
from timechat.data.places import load_rules
from timechat.errors import ConfigError
from timechat.evaluation.tables import text_table
from timechat.wording import counted

_EXAMPLES = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Find the videos of what is named; returns the exit status, 1 if some are found nowhere."""
    args = _parser().parse_args(argv)
    lost: list[str] = []

    def run() -> None:
        rules = load_rules(args.rules)
        for folder in args.search:
            if not Path(folder).is_dir():
                raise ConfigError(f"--search={folder}: no such folder")
        for target in targets_of(args.target, args.videos_dir, args.options):
            searched = args.search or [target.videos_dir]
            paths = (item.path for item, _ in target.entries() if item)
            found = locate(paths, target.videos_dir, searched, rules)
            lost.extend(path for located in found.values() for path in (*located.lost, *located.blocked))
            sys.stdout.write("".join(f"{line}\n" for line in _lines(target, found, args)))
            _link(target, found, args.link)

    return run_main(run) or int(bool(lost))


def _link(target: Target, found: dict[str, Located], really: bool) -> None:
    links = {path: file for located in found.values() for path, file in located.links.items()}
    if really:
        sys.stdout.write(f"{counted(link(links, target.videos_dir), 'link')} made below {target.videos_dir}\n")
    elif links:
        sys.stdout.write(f"nothing was changed; --link makes {counted(len(links), 'link')}\n")


def _lines(target: Target, found: dict[str, Located], args: argparse.Namespace) -> Iterator[str]:
    yield f"{target.name}: {target.annotations}, videos wanted in {target.videos_dir}"
    head = ("collection", "videos", "there", "found elsewhere", "in several places", "not found")
    rows = [
        (
            name,
            *(f"{n:,}" for n in (one.wanted, one.there, len(one.links), one.several, one.not_found)),
        )
        for name, one in found.items()
    ]
    yield text_table(head, rows).rstrip("\n")
    for name, one in found.items():
        links = [f"  {path} -> {file}" for path, file in one.links.items()]
        yield from _some(f"{name}: {'to be linked now' if args.link else 'would be linked'}", links, args.all)
        yield from _some(f"{name}: not found", [f"  {path}" for path in one.lost], args.all)
        blocked = [f"  {path} {problem}" for path, problem in one.blocked.items()]
        yield from _some(f"{name}: no video in its place, remove it and run this again", blocked, args.all)


def _some(title: str, lines: Sequence[str], all_of_them: bool) -> Iterator[str]:
    """A title and the first lines, or all; nothing without lines."""
    if lines:
        yield title
        shown = len(lines) if all_of_them else _EXAMPLES
        yield from lines[:shown]
        if len(lines) > shown:
            yield f"  and {len(lines) - shown:,} more (--all prints them)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timechat data locate",
        description="Find videos that annotations name and that lie elsewhere, or under nearly the same names: in the "
        "folders of re-hosted archives, with another extension, with or without v_. By default it only prints what it "
        "would link; nothing is ever moved. The exit status is 1 if videos are found nowhere, "
        "or something else is in their place.",
    )
    add_target(parser)
    parser.add_argument(
        "--search", nargs="+", type=path, default=[], metavar="FOLDER", help="where to search (default: videos_dir)"
    )
    parser.add_argument("--rules", type=path, help="YAML file with more collections, in front of the known ones")
    parser.add_argument("--link", action="store_true", help="make the links")
    parser.add_argument("--all", action="store_true", help="print all paths instead of a few")
    add_options(parser, "datasets.time_instruct.build_info.videos_dir=data")
    return parser
