"""An annotation file and a folder of videos -> shards that `builder: shards` reads, with their indexes.

Each video is in one shard, with every annotation of it. Which shard, and where in it, is a function of the annotations,
the sizes of the videos and the seed, so that a packing that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import re
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from timechat.datasets.annotations import check_entry, raise_listed
from timechat.datasets.entries import iter_entries, read_json
from timechat.datasets.manifest import read_manifest
from timechat.datasets.shards.index import BLOCK, VIDEO_SUFFIXES, Member, index_name, index_text, read_index
from timechat.errors import AnnotationError, ConfigError
from timechat.io import json_line, replacing, sha256_of, sha256_of_file, write_json, write_text
from timechat.lfs import pointer_problem
from timechat.locks import FolderLock
from timechat.wording import counted, in_bytes

logger = logging.getLogger(__name__)

RECORD = "pack.json"  # what is packed into a folder, and how
UNUSABLE = "left_out.txt"  # videos that are not, and why
_UNSAFE = re.compile(r"[%.\s]")


@dataclass(frozen=True)
class Packing:
    """What to pack, and how.

    Attributes:
        annotations: a JSON list, or JSON lines.
        videos_dir: the folder that its paths are relative to.
        output: folder of the shards.
        name: what their names begin with.
        shard_bytes: size above which a shard takes no more videos; a larger video has one of its own.
        seed: of the random order of the videos; None keeps that of the annotations.
        manifest: of an audit of the annotations; what it leaves out is not packed.
        drop: whether videos that are missing, empty or git-lfs pointers are left out, and listed.
        workers: threads that copy.
    """

    annotations: Path
    videos_dir: Path
    output: Path
    name: str
    shard_bytes: int
    seed: int | None = 0
    manifest: Path | None = None
    drop: bool = False
    workers: int = 4


@dataclass(frozen=True)
class Packed:
    """What became of it.

    Attributes:
        samples, videos: in the shards.
        shards: how many there are; `found`: those of an earlier run.
        size: bytes of all.
        left_out: videos that are not in them, each with the reason.
        samples_left_out: their annotations.
        failures: shards that could not be written, each with the reason.
        seconds: it took.
    """

    samples: int
    videos: int
    shards: int
    found: int
    size: int
    left_out: Mapping[str, str]
    samples_left_out: int
    failures: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class _Video:
    """A video, its place in a shard and its annotations, each a line of JSON."""

    path: Path
    key: str
    size: int
    annotations: Sequence[bytes]

    @property
    def space(self) -> int:
        """Bytes that it takes in a shard."""
        return sum(BLOCK + _filled(size) for size in (self.size, *map(len, self.annotations)))


def pack(job: Packing) -> Packed:
    """Write the shards, or those that are not there yet.

    Raises:
        AnnotationError: the annotations are broken, or videos are missing that may not be.
        ConfigError: the folder holds another packing, or another process packs into it.
    """
    started = time.monotonic()
    lock = FolderLock(job.output, f"--output={job.output}", "is packing into it")
    lock.acquire()
    try:
        annotations = _by_video(job)
        sizes, unusable = _sizes(job, list(annotations))
        if unusable and not job.drop:
            raise AnnotationError(_refusal(job, unusable, len(annotations)))
        videos = _videos(job, annotations, sizes)
        shards = list(_shards(videos, job.shard_bytes))
        _begin(job, videos, unusable)
        found, failures = _write(job, shards)
    finally:
        lock.release()
    return Packed(
        samples=sum(len(video.annotations) for video in videos),
        videos=len(videos),
        shards=len(shards),
        found=found,
        size=sum(path.stat().st_size for path in job.output.glob(f"{job.name}-*.tar")),
        left_out=unusable,
        samples_left_out=sum(len(annotations[path]) for path in unusable),
        failures=failures,
        seconds=time.monotonic() - started,
    )


# What goes where ------------------------------------------------------------------------------------------------------


def _by_video(job: Packing) -> dict[str, list[bytes]]:
    """Every annotation, as JSON, by the path of its video."""
    left_out = read_manifest(job.manifest, job.annotations).numbers if job.manifest else ()
    found: dict[str, list[bytes]] = {}
    problems: list[str] = []
    for number, entry in enumerate(iter_entries(job.annotations, "video")):
        if number not in left_out:
            item, wrong = check_entry(entry, number, job.videos_dir)
            problems += [f"item {number}: {problem}" for problem in wrong]
            if item:
                found.setdefault(os.path.normpath(item.path), []).append(json_line(entry).encode())
    raise_listed(job.annotations, problems)
    if not found:
        raise AnnotationError(f"{job.annotations}: has no items to pack")
    return found


def _sizes(job: Packing, paths: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Bytes of each video that can be packed, and why the others cannot."""
    with ThreadPoolExecutor(job.workers) as pool:
        looks = list(pool.map(lambda path: _size_or_problem(job.videos_dir / path), paths))
    sizes = {path: look for path, look in zip(paths, looks, strict=True) if isinstance(look, int)}
    return sizes, {path: look for path, look in zip(paths, looks, strict=True) if isinstance(look, str)}


def _size_or_problem(path: Path) -> int | str:
    if path.suffix.lower().removeprefix(".") not in VIDEO_SUFFIXES:
        return f"is no video of a known kind ({', '.join(sorted(VIDEO_SUFFIXES))})"
    if not path.is_file():
        return "is missing" if not path.exists() else "is not a file"
    return pointer_problem(path) or path.stat().st_size or "is empty"


def _refusal(job: Packing, unusable: Mapping[str, str], count: int) -> str:
    listed = "\n  ".join(f"{path} {reason}" for path, reason in list(unusable.items())[:10])
    more = f"\n  and {len(unusable) - 10} more" if len(unusable) > 10 else ""
    return (
        f"{job.annotations}: {len(unusable)} of {count} videos in {job.videos_dir} cannot be packed; put them there, "
        f"or pack without them: --missing drop, which lists them in {UNUSABLE}\n  {listed}{more}"
    )


def _videos(job: Packing, annotations: Mapping[str, Sequence[bytes]], sizes: Mapping[str, int]) -> list[_Video]:
    """The videos in the order of the shards."""
    paths, taken = list(sizes), set[str]()
    if job.seed is not None:
        keys = np.random.Generator(np.random.PCG64(job.seed)).random(len(paths))
        paths = [paths[number] for number in np.argsort(keys, kind="stable")]
    return [_Video(job.videos_dir / path, _key(path, taken), sizes[path], annotations[path]) for path in paths]


def _key(path: str, taken: set[str]) -> str:
    """What a video's members are called: its path without suffix. A key ends at the first dot, so it has none."""
    stem, suffix = os.path.splitext(path)
    key = _UNSAFE.sub(lambda letter: f"%{ord(letter[0]):02X}", stem.replace(os.sep, "/"))
    while key in taken:  # a.mp4 and a.webm
        key += f"_{suffix[1:].lower()}"
    taken.add(key)
    return key


def _shards(videos: Sequence[_Video], most: int) -> Iterator[list[_Video]]:
    """Groups of videos, each as large as a shard may be."""
    shard: list[_Video] = []
    size = 0
    for video in videos:
        if shard and size + video.space > most:
            yield shard
            shard, size = [], 0
        shard.append(video)
        size += video.space
    if shard:
        yield shard


# Writing --------------------------------------------------------------------------------------------------------------


def _begin(job: Packing, videos: Sequence[_Video], unusable: Mapping[str, str]) -> None:
    """Write down what is packed. Raises ConfigError: the folder holds shards of something else."""
    sizes = sorted(f"{video.path} {video.size}\n" for video in videos)
    record = {
        "name": job.name,
        "shard_bytes": job.shard_bytes,
        "seed": job.seed,
        "annotations_sha256": sha256_of_file(job.annotations),
        "videos_sha256": sha256_of("".join(sizes)),  # of names and sizes
    }
    file = job.output / RECORD
    if file.exists():
        before = read_json(file)
        changed = [key for key, value in record.items() if before.get(key) != value]
        if changed:
            raise ConfigError(
                f"--output={job.output}: holds shards that were packed with another {', '.join(changed)} ({RECORD}); "
                "give another folder, or remove them"
            )
    elif any(job.output.glob(f"{job.name}-*.tar")):
        raise ConfigError(f"--output={job.output}: holds {job.name}-*.tar, but no {RECORD}; give another folder")
    write_json(file, record)
    write_text(job.output / UNUSABLE, "".join(f"{path}\t{reason}\n" for path, reason in unusable.items()))
    for left_over in job.output.glob(f".{job.name}-*.tmp"):  # of a process that was killed
        left_over.unlink()


def _write(job: Packing, shards: Sequence[Sequence[_Video]]) -> tuple[int, list[str]]:
    """Write the shards that are not there; how many were, and which could not be written."""
    digits = max(6, len(str(len(shards) - 1)))
    paths = [job.output / f"{job.name}-{number:0{digits}d}.tar" for number in range(len(shards))]
    left = [number for number, path in enumerate(paths) if not _is_whole(path, shards[number])]
    failures = []
    with ThreadPoolExecutor(job.workers) as pool:
        try:
            tasks = {pool.submit(_write_shard, paths[number], shards[number]): paths[number] for number in left}
            with tqdm(total=len(shards), initial=len(shards) - len(left), unit="shard", disable=None) as bar:
                for task in as_completed(tasks):
                    try:
                        task.result()
                    except OSError as error:
                        failures.append(f"{tasks[task]}: {error}")
                    bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(shards) - len(left), sorted(failures)


def _is_whole(path: Path, videos: Sequence[_Video]) -> bool:
    """Whether a shard is there with its index, and with all bytes of its members."""
    index = Path(index_name(str(path)))
    try:
        samples = read_index(index.read_text(encoding="utf-8"), str(index))
        size = path.stat().st_size
    except (OSError, UnicodeDecodeError, AnnotationError):
        return False
    return size > sum(video.space for video in videos) and len(samples) == sum(len(one.annotations) for one in videos)


def _write_shard(path: Path, videos: Sequence[_Video]) -> None:
    """Write a shard, then its index. Raises OSError, naming the video that cannot be read."""
    members: list[Member] = []
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for video in videos:
            for number, annotation in enumerate(video.annotations):
                extension = "json" if len(video.annotations) == 1 else f"{number}.json"
                members.append(_add(archive, f"{video.key}.{extension}", BytesIO(annotation), len(annotation)))
            with video.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != video.size:
                    raise OSError(f"{video.path} has changed meanwhile; start again")
                members.append(_add(archive, f"{video.key}{video.path.suffix.lower()}", file, video.size))
    write_text(index_name(str(path)), index_text(members))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> Member:
    """Append a file; without owner and date, so that the same videos always give the same shard."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, content)
    return Member(name, archive.offset - _filled(size), size)


def _filled(size: int) -> int:
    """Bytes that a file takes in a shard, which are full blocks."""
    return -(-size // BLOCK) * BLOCK


def describe(packed: Packed, job: Packing) -> Iterator[str]:
    """What became of it, for people."""
    yield (
        f"{counted(packed.samples, 'annotation')} of {counted(packed.videos, 'video')} in "
        f"{counted(packed.shards, 'shard')}, {in_bytes(packed.size)}, in {job.output} "
        f"({counted(packed.found, 'was', 'were')} there already; {packed.seconds:.1f} s)"
    )
    if packed.left_out:
        videos, annotations = len(packed.left_out), counted(packed.samples_left_out, "annotation")
        yield f"left out: {counted(videos, 'video')} with {annotations}, listed in {job.output / UNUSABLE}"
    for failure in packed.failures:
        yield f"not written: {failure}"
