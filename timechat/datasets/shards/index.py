"""What is in a shard, and where: read from the index beside it, or found by looking at the headers of its members.

The index of `train-000012.tar` is `train-000012.idx`: the format of DALI's wds2idx, version 1.2. Its first line is
`v1.2 NUMBER`; then comes one line for each key, with extension, position of the first byte, bytes and name of each of
its members:

    json 512 87 cooking/a.json mp4 1536 90211 cooking/a.mp4

Blanks and % in names are written as %20 and %25. A key whose video several annotations share has members `a.0.json`,
`a.1.json`, ...; each is a sample.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from timechat.datasets.shards.storage import opened
from timechat.errors import AnnotationError

VERSION = "v1.2"
BLOCK = 512  # bytes: a header, and what members are filled up to
# Of each key the first file with such a suffix is the video.
VIDEO_SUFFIXES = frozenset(
    ("mp4", "mkv", "webm", "avi", "mov", "m4v", "flv", "ts", "m2ts", "mpg", "mpeg", "wmv", "gif", "ogv", "3gp")
)

_ANNOTATION = re.compile(r"(?:\d+\.)?json")
_HIDDEN = {"%": "%25", " ": "%20", "\t": "%09", "\n": "%0A", "\r": "%0D"}
_HIDDEN_BACK = re.compile("|".join(code for code in _HIDDEN.values()))


class Member(NamedTuple):
    """A file in a shard.

    Attributes:
        name: its path in the shard.
        offset: of its first byte, behind its header.
        size: its bytes.
    """

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        """What the members of a sample share: all up to the first dot of the last part."""
        return self.name[: len(self.name) - len(self.extension) - 1] if self.extension else self.name

    @property
    def extension(self) -> str:
        """What is behind that dot."""
        return self.name.rpartition("/")[2].partition(".")[2]


@dataclass(frozen=True)
class ShardIndex:
    """The samples of a shard, as arrays.

    Attributes:
        names: of the videos, each with a line feed behind it; the key where there is no video.
        videos: int64 [V, 2], offset and size of each video; the size of one that is not there is -1.
        owner: int32 [N], the video of each sample.
        annotations: int64 [N, 2], offset and size of each sample's annotation.
        unused: videos without an annotation.
    """

    names: bytes
    videos: NDArray[Any]
    owner: NDArray[Any]
    annotations: NDArray[Any]
    unused: int

    def __len__(self) -> int:
        return len(self.owner)

    @classmethod
    def of(cls, members: Iterable[Member]) -> ShardIndex:
        """Group members by key."""
        return cls._of(_grouped(members).values())

    @classmethod
    def _of(cls, groups: Iterable[Sequence[tuple[str, Member]]]) -> ShardIndex:
        """Choose from the members of each key, given with their extensions, the video and the annotations."""
        names: list[str] = []
        videos, owners, texts, unused = list[tuple[int, int]](), list[int](), list[tuple[int, int]](), 0
        for group in groups:
            found = [member for extension, member in group if _is_video(extension)]
            about = [member for extension, member in group if _is_annotation(extension)]
            unused += not about and bool(found)
            if about:
                name, offset, size = found[0] if found else (about[0].key, 0, -1)
                owners += [len(names)] * len(about)
                texts += [(member.offset, member.size) for member in about]
                names.append(name)
                videos.append((offset, size))
        return cls(
            "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"),
            np.array(videos, dtype=np.int64).reshape(-1, 2),
            np.array(owners, dtype=np.int32),
            np.array(texts, dtype=np.int64).reshape(-1, 2),
            unused,
        )


def _grouped(members: Iterable[Member]) -> dict[str, list[tuple[str, Member]]]:
    """The members of each key, with their extensions."""
    groups: dict[str, list[tuple[str, Member]]] = {}
    for member in members:
        groups.setdefault(member.key, []).append((member.extension, member))
    return groups


@lru_cache(maxsize=1024)
def _is_video(extension: str) -> bool:
    return extension.rpartition(".")[2].lower() in VIDEO_SUFFIXES


@lru_cache(maxsize=1024)
def _is_annotation(extension: str) -> bool:
    return _ANNOTATION.fullmatch(extension) is not None


def index_name(shard: str) -> str:
    """The name of a shard's index."""
    return shard.removesuffix(".tar") + ".idx"


def scan(shard: str) -> list[Member]:
    """Look at the header of every member of a shard; the members themselves are not read.

    Raises:
        AnnotationError: it is no tar file, or is cut or damaged.
        OSError: it cannot be read.
    """
    members: list[Member] = []
    try:
        with opened(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.isreg():
                    members.append(Member(member.name, member.offset_data, member.size))
            # Where a header is damaged or missing, the archive ends without a word.
            file.seek(archive.offset)
            if file.read(BLOCK) != bytes(BLOCK):
                raise tarfile.ReadError("its end is missing, or a header is damaged")
    except tarfile.TarError as error:
        raise AnnotationError(
            f"{shard}: is cut or damaged behind {len(members)} members ({error}), and has no index that would tell "
            "what is missing; download it again or take it out of anno_dir"
        ) from error
    return members


def index_text(members: Iterable[Member]) -> str:
    """The index of a shard with these members, as text."""
    lines = []
    for group in _grouped(members).values():
        parts = (f"{_hide(extension) or '-'} {m.offset} {m.size} {_hide(m.name)}" for extension, m in group)
        lines.append(" ".join(parts))
    return "\n".join([f"{VERSION} {len(lines)}", *lines]) + "\n"


def _hide(text: str) -> str:
    return "".join(_HIDDEN.get(letter, letter) for letter in text)


def read_index(text: str, source: str) -> ShardIndex:
    """The samples of a shard by its index.

    Args:
        text: of the index.
        source: the file, for messages.

    Raises:
        AnnotationError: it is damaged or of another version.
    """
    head, *lines = text.split("\n")
    if head.split(" ")[0] != VERSION or lines[-1:] != [""] or head != f"{VERSION} {len(lines) - 1}":
        raise AnnotationError(
            f"{source}: is no whole index of version {VERSION}, which begins with {VERSION} and the number of lines, "
            f"not with {head[:40]!r}; remove it, and the shard is looked through again"
        )
    return ShardIndex._of(_members(line, number, source) for number, line in enumerate(lines[:-1], 2))


def _members(line: str, number: int, source: str) -> list[tuple[str, Member]]:
    """The members of a line, with their extensions. Raises AnnotationError."""
    parts = line.split(" ")
    try:
        return [
            (extension, Member(_shown(name) if "%" in name else name, int(offset), int(size)))
            for extension, offset, size, name in zip(*[iter(parts)] * 4, strict=True)
        ]
    except ValueError as error:
        raise AnnotationError(
            f"{source}, line {number}: expected extension, position, bytes and name of each member, found "
            f"{line[:80]!r}; remove the file, and the shard is looked through again"
        ) from error


def _shown(name: str) -> str:
    return _HIDDEN_BACK.sub(lambda code: bytes.fromhex(code[0][1:]).decode(), name)
