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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
        videos: dict[str, Member] = {}
        annotations: dict[str, list[Member]] = {}
        for member in members:
            if member.extension.rpartition(".")[2].lower() in VIDEO_SUFFIXES:
                videos.setdefault(member.key, member)
            elif _ANNOTATION.fullmatch(member.extension):
                annotations.setdefault(member.key, []).append(member)
        nothing = {key: Member(key, 0, -1) for key in annotations}
        chosen = [videos.get(key, nothing[key]) for key in annotations]
        owners = [number for number, some in enumerate(annotations.values()) for _ in some]
        texts = [(member.offset, member.size) for some in annotations.values() for member in some]
        return cls(
            "".join(f"{member.name}\n" for member in chosen).encode("utf-8", "surrogateescape"),
            np.array([(member.offset, member.size) for member in chosen], dtype=np.int64).reshape(-1, 2),
            np.array(owners, dtype=np.int32),
            np.array(texts, dtype=np.int64).reshape(-1, 2),
            len(videos.keys() - annotations.keys()),
        )


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
    lines: dict[str, list[str]] = {}
    for member in members:
        name = "".join(_HIDDEN.get(letter, letter) for letter in member.name)
        extension = "".join(_HIDDEN.get(letter, letter) for letter in member.extension) or "-"
        lines.setdefault(member.key, []).append(f"{extension} {member.offset} {member.size} {name}")
    return "\n".join([f"{VERSION} {len(lines)}", *(" ".join(parts) for parts in lines.values())]) + "\n"


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
    return ShardIndex.of(_members(lines[:-1], source))


def _members(lines: Iterable[str], source: str) -> Iterator[Member]:
    for number, line in enumerate(lines, 2):
        parts = line.split(" ")
        try:
            for first in range(0, len(parts), 4):
                _, offset, size, name = parts[first : first + 4]
                yield Member(_shown(name) if "%" in name else name, int(offset), int(size))
        except ValueError as error:
            raise AnnotationError(
                f"{source}, line {number}: expected extension, position, bytes and name of each member, found "
                f"{line[:80]!r}; remove the file, and the shard is looked through again"
            ) from error


def _shown(name: str) -> str:
    return _HIDDEN_BACK.sub(lambda code: bytes.fromhex(code[0][1:]).decode(), name)
