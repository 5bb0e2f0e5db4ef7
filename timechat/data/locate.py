"""Finding videos that annotations name where they lie under other names, and linking them to where they are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from timechat.data.places import Collection, Rules, parts_of
from timechat.datasets.presence import THREADS, missing_files
from timechat.errors import FileError, reason_of
from timechat.io import make_folder
from timechat.lfs import pointer_problem

UNKNOWN = "other"  # paths of no collection: only looked for as they are


@dataclass(frozen=True)
class Place:
    """Where a video was found, and how well that fits: a smaller rank is better."""

    rank: tuple[int, int, int, str]
    path: str


@dataclass
class Located:
    """What became of the videos of a collection.

    Attributes:
        wanted: how many the annotations name.
        there: how many of them are in their place.
        links: path below the folder of videos -> the file that was found elsewhere.
        several: how many of these were found in several places; the best is taken.
        lost: paths that were not found.
        blocked: paths where something else is in the place of the video, each with what that is: neither there nor
            linked, because nothing that exists is removed.
    """

    wanted: int = 0
    there: int = 0
    links: dict[str, str] = field(default_factory=dict)
    several: int = 0
    lost: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)

    @property
    def not_found(self) -> int:
        """How many are neither there nor can be linked."""
        return len(self.lost) + len(self.blocked)


def locate(paths: Iterable[str], videos_dir: str, searched: Sequence[str], rules: Rules) -> dict[str, Located]:
    """Find the videos that are not where annotations say.

    Args:
        paths: of the videos, relative to `videos_dir`.
        videos_dir: where they are wanted.
        searched: folders to search, with all that is in them.
        rules: which names mean the same video.

    Returns:
        What was found, by collection, in the order of the paths.
    """
    wanted = list(dict.fromkeys(paths))
    gone = missing_files(wanted, videos_dir)
    blocked = _no_videos([path for path in wanted if path not in gone], videos_dir)
    owners = {path: rules.collection_of(parts_of(os.path.dirname(path))) for path in wanted}
    places = _search([(path, owners[path]) for path in wanted if path in gone], searched, rules)
    found: dict[str, Located] = {}
    for path in wanted:
        owner = owners[path]
        located = found.setdefault(owner.name if owner else UNKNOWN, Located())
        located.wanted += 1
        if path in blocked:
            located.blocked[path] = blocked[path]
        elif path not in gone:
            located.there += 1
        elif path in places:
            located.links[path] = min(places[path], key=lambda place: place.rank).path
            located.several += len({os.path.realpath(place.path) for place in places[path]}) > 1
        else:
            located.lost.append(path)
    return found


def link(links: dict[str, str], videos_dir: str) -> int:
    """Make symbolic links; what exists stays, but for links that point nowhere. Returns how many were made.

    Args:
        links: path below `videos_dir` -> the file that it is to mean.
        videos_dir: where the links go.

    Raises:
        FileError: one cannot be made.
    """
    made = 0
    for path, target in tqdm(links.items(), unit="link", disable=None):
        place = os.path.join(videos_dir, path)
        if os.path.exists(place):
            continue
        try:
            made += _link(place, target)
        except FileError:
            raise
        except OSError as error:
            raise FileError(place, error, "written") from error
    return made


def _link(place: str, target: str) -> bool:
    """Make a link; False if a file has appeared in its place meanwhile. Raises OSError."""
    make_folder(Path(place).parent)
    temporary = f"{place}.{os.getpid()}.link"
    os.symlink(os.path.realpath(target), temporary)
    if os.path.lexists(place) and not os.path.islink(place):
        os.unlink(temporary)
        return False
    os.replace(temporary, place)
    return True


def _no_videos(paths: Sequence[str], videos_dir: str) -> dict[str, str]:
    """What is in the place of videos and is none, by path."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda path: _problem(os.path.join(videos_dir, path)), paths)
        return {path: problem for path, problem in zip(paths, found, strict=True) if problem}


def _search(
    missing: Sequence[tuple[str, Collection | None]], searched: Sequence[str], rules: Rules
) -> dict[str, list[Place]]:
    """Every place where a missing video may be."""
    by_name: dict[str, list[tuple[str, Collection, int]]] = {}  # a name -> the videos that it may mean
    places: dict[str, list[Place]] = {}
    for path, owner in missing:
        if owner is not None:
            stem = rules.split(os.path.basename(path))[0]
            for likeness, name in enumerate(owner.alike(stem)):
                by_name.setdefault(name, []).append((path, owner, likeness))
        for root in searched:
            if _is_video(as_it_is := os.path.join(root, path)):
                places.setdefault(path, []).append(Place((-1, 0, 0, as_it_is), os.path.abspath(as_it_is)))
    for folder, parts, name in tqdm(_files(searched), desc="searching", unit="file", disable=None):
        stem, extension = rules.split(name)
        for path, owner, likeness in by_name.get(stem, ()):
            rank, file = owner.rank(parts), os.path.join(folder, name)
            if rank is not None and rules.collection_of(parts) == owner and _is_video(file):
                kind = rules.extensions.index(extension) if extension else len(rules.extensions)
                places.setdefault(path, []).append(Place((rank, likeness, kind, file), os.path.abspath(file)))
    return places


def _files(searched: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Every file below some folders: its folder, the parts of that from the searched one on, and its name."""
    seen: set[tuple[int, int]] = set()
    waiting = [(root, parts_of(os.path.basename(os.path.abspath(root)))) for root in reversed(searched)]
    while waiting:
        folder, parts = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:  # links to folders may go in circles
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append((entry.path, (*parts, entry.name.lower())))
                    else:
                        yield folder, parts, entry.name
        except OSError:  # not ours to read, or it has gone
            continue


def _is_video(file: str) -> bool:
    """Whether a file has content, which is not a git-lfs pointer."""
    return not _problem(file)


def _problem(file: str) -> str:
    """Why a file is no video, as far as that can be told without opening it."""
    try:
        if not os.path.isfile(file):
            return "is not a file"
        return "is empty" if not os.path.getsize(file) else pointer_problem(file) or ""
    except OSError as error:  # it has gone
        return f"cannot be read ({reason_of(error)})"
