"""Which of a dataset's files exist: asked once, before training, for a hundred thousand files in a second or two.

A folder is listed once, which costs one request for many names, instead of asking for each file; folders are listed
side by side, because network file systems answer late.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

THREADS = 16  # folders that are listed side by side
PART = 256  # files that one thread asks for
FEW = 8  # files of a folder up to which each is asked for: the folder may be far larger


@dataclass(frozen=True)
class Presence:
    """Which of a dataset's files exist.

    Attributes:
        dataset: its name.
        videos_dir: the folder that the paths are relative to.
        samples: how many there are, and `samples_there`: how many of them have their file. Several may share one.
        files: how many different files, by source.
        missing: paths of the files that do not exist, by source, in the order of the annotations.
    """

    dataset: str
    videos_dir: str
    samples: int
    samples_there: int
    files: dict[str, int]
    missing: dict[str, list[str]]

    @property
    def missing_paths(self) -> list[str]:
        """The paths of all sources."""
        return [path for paths in self.missing.values() for path in paths]

    @property
    def files_there(self) -> int:
        """How many different files exist."""
        return sum(self.files.values()) - sum(map(len, self.missing.values()))

    def __str__(self) -> str:
        total = sum(self.files.values())
        counts = (
            f"{self.files_there:,} of {total:,} files exist, for {self.samples_there:,} of {self.samples:,} samples"
        )
        return f"datasets.{self.dataset}: {counts}"

    def lacking(self) -> dict[str, list[str]]:
        """The missing paths of the sources that lack files; those that lack most come first."""
        lacking = ((source, paths) for source, paths in self.missing.items() if paths)
        return dict(sorted(lacking, key=lambda pair: -len(pair[1])))

    def by_source(self) -> Iterator[str]:
        """One line for each source that lacks files, with an example."""
        for source, paths in self.lacking().items():
            yield f"{source}: {len(paths):,} of {self.files[source]:,} files are missing, such as {paths[0]}"


def look_for(name: str, samples: Sequence[tuple[str, str]], videos_dir: str | Path) -> Presence:
    """Look for files.

    Args:
        name: of the dataset.
        samples: the path and the source of each sample.
        videos_dir: the folder that the paths are relative to.
    """
    sources: dict[str, str] = {}
    for path, source in samples:
        sources.setdefault(path, source)
    gone = missing_files(sources, videos_dir)
    missing: dict[str, list[str]] = {source: [] for source in dict.fromkeys(sources.values())}
    for path, source in sources.items():
        if path in gone:
            missing[source].append(path)
    there = sum(path not in gone for path, _ in samples)
    return Presence(name, str(videos_dir), len(samples), there, dict(Counter(sources.values())), missing)


def missing_files(paths: Iterable[str], videos_dir: str | Path) -> set[str]:
    """Those of the paths, relative to a folder, at which nothing exists; a link counts as what it points to."""
    folders: dict[str, dict[str, list[str]]] = {}  # folder -> name -> the paths that mean it
    for path in paths:
        folder, name = os.path.split(os.path.join(videos_dir, path))
        folders.setdefault(folder, {}).setdefault(name, []).append(path)
    with ThreadPoolExecutor(THREADS) as pool:
        listed = pool.map(lambda folder: _compare(folder, folders[folder]), folders)
        gone, unsure = set(), []
        for folder, (absent, open_questions) in zip(folders, listed, strict=True):
            gone |= {path for name in absent for path in folders[folder][name]}
            unsure += [path for name in open_questions for path in folders[folder][name]]
        parts = [unsure[first : first + PART] for first in range(0, len(unsure), PART)]
        for part in pool.map(lambda part: [p for p in part if not os.path.exists(os.path.join(videos_dir, p))], parts):
            gone.update(part)
    return gone


def _compare(folder: str, names: Collection[str]) -> tuple[list[str], list[str]]:
    """Names that a folder lacks, and those that have to be asked for one by one."""
    if len(names) <= FEW:
        return [], list(names)
    try:
        with os.scandir(folder) as entries:
            links = {entry.name: entry.is_symlink() for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return list(names), []
    except OSError:  # it may be entered but not listed
        return [], list(names)
    # Some file systems take names that differ in case, or in how accents are written, for the same.
    alike = {_folded(name) for name in links}
    absent = [name for name in names if _folded(name) not in alike]
    return absent, [name for name in names if links.get(name, _folded(name) in alike)]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
