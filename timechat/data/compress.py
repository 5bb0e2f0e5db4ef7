"""Which files of a folder of videos become which smaller ones: names and folders stay."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from timechat.data.rewriting import FORMATS, VideoJob
from timechat.errors import ConfigError
from timechat.wording import counted

# Of files that are videos; "" because QuerYD's have none. Those that cannot hold H.264 become .mp4.
VIDEO_SUFFIXES = frozenset(
    {*FORMATS, ".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".mpeg", ".mpg", ".mts"}
    | {".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv"}
)


@dataclass(frozen=True)
class Folder:
    """The videos of a folder.

    Attributes:
        jobs: what to make of them.
        renamed: how many get the suffix .mp4 instead of their own.
        others: how many files are no videos, by suffix.
    """

    jobs: list[VideoJob]
    renamed: int
    others: Counter[str]

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.renamed:
            have = counted(self.renamed, "has", "have")
            yield f"{have} the suffix .mp4 now, because the original one cannot hold H.264"
        if self.others:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in self.others.most_common(5))
            yield f"not looked at, because they are no videos by their names: {kinds}"


def videos_of(folder: Path, output: Path) -> Folder:
    """All videos of a folder and its sub-folders, and where they go below `output`.

    Raises:
        ConfigError: the folder has no videos or is missing, new files would lie among the originals, or two files would
            become one.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of videos")
    jobs, others, renamed = dict[Path, VideoJob](), Counter[str](), 0
    for path in _files(folder, output):
        suffix = path.suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            others[path.suffix] += 1
            continue
        relative = path.relative_to(folder)
        target = output / (relative if suffix in FORMATS else relative.with_suffix(".mp4"))
        renamed += suffix not in FORMATS
        if target in jobs:
            raise ConfigError(f"{jobs[target].source} and {path} would both become {target}; move one of them away")
        jobs[target] = VideoJob(str(path), str(target))
    if not jobs:
        raise ConfigError(f"{folder}: has no videos; their names end in {', '.join(sorted(VIDEO_SUFFIXES - {''}))}")
    check_apart(folder, output, list(jobs.values()))
    return Folder(list(jobs.values()), renamed, others)


def check_apart(videos: Path, output: Path, jobs: Iterable[VideoJob]) -> None:
    """Keep new files from lying among the originals, where one could be taken for the other.

    Args:
        videos: the folder of the originals.
        output: the folder of the new files, which may be inside of it, or hold it.
        jobs: what would be made, below `output`.

    Raises:
        ConfigError: it is the same folder, a new file would lie among the originals, or an original is in `output`.
    """
    old, new = os.path.realpath(videos), os.path.realpath(output)
    if old == new:
        raise ConfigError(f"{output}: the same folder as the original videos; give another one for the new ones")
    for job in jobs:
        source, target = Path(old, os.path.relpath(job.source, videos)), Path(new, os.path.relpath(job.target, output))
        if source.is_relative_to(new) and Path(new).is_relative_to(old):
            raise ConfigError(f"{output}: {job.source}, an original, lies in it; give another folder for the new ones")
        if target.is_relative_to(old) and not Path(new).is_relative_to(old):
            raise ConfigError(f"{output}: {job.target} would lie among the originals; give another folder")


def _files(folder: Path, output: Path) -> Iterator[Path]:
    """Visible files, in the order of their names; not those of `output`, which may be inside."""
    for root, folders, names in os.walk(folder, followlinks=True):
        there = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _same(there / name, output))
        yield from (there / name for name in sorted(names) if not name.startswith("."))


def _same(folder: Path, output: Path) -> bool:
    return output.exists() and folder.samefile(output)
