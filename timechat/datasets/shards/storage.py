"""Where shards lie: on a disk, or wherever fsspec reads from (s3://, gs://, https://, ...).

A name with `://` in it is a URL. Nothing here keeps a connection: processes that are forked find their own.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from timechat.errors import ConfigError

SUFFIX = ".tar"
# Headers are read by the block; what lies between them is not wanted.
_SCAN_BLOCK = 1 << 14

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000


def is_url(name: str) -> bool:
    """Whether fsspec reads it."""
    return "://" in name


def shards_of(pattern: str, where: str) -> list[str]:
    """The shards that a setting means, in the order of their names.

    Args:
        pattern: a folder or a URL of one, for all .tar files in it; or names of shards with `*`, or with a range of
            numbers, `train-{000000..000127}.tar`, whose shards need not exist.
        where: the setting, for messages.

    Raises:
        ConfigError: it means none, or two of one name; or fsspec lacks something.
    """
    names = [name for text in _numbered(pattern, where) for name in _listed(text)]
    if not names:
        raise ConfigError(
            f"{where}={pattern}: no shard is there; name a folder of {SUFFIX} files or write "
            "train-{000000..000127}.tar"
        )
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(base_name(name), name)
        if other != name:
            raise ConfigError(f"{where}={pattern}: {other} and {name} have one name, which samples go by; rename one")
    return names


def base_name(name: str) -> str:
    """The last part of a path or URL."""
    return name.rstrip("/").rpartition("/")[2] if is_url(name) else os.path.basename(name)


def _numbered(pattern: str, where: str) -> Iterator[str]:
    """The names that a pattern's first range of numbers stands for, and those of the next ones in it."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST_SHARDS:
        raise ConfigError(f"{where}={pattern}: {match[0]} must go from the smaller to the larger number")
    for number in range(first, last + 1):
        yield from _numbered(f"{pattern[: match.start()]}{number:0{len(match[1])}d}{pattern[match.end() :]}", where)


def _listed(text: str) -> list[str]:
    if is_url(text):
        if "*" not in text and text.endswith(SUFFIX):
            return [text]
        system, path = _system_of(text)
        found = system.glob(path if "*" in path else f"{path.rstrip('/')}/*{SUFFIX}")
        return sorted(str(system.unstrip_protocol(name)) for name in found)
    if os.path.isdir(text):
        return sorted(glob.glob(os.path.join(glob.escape(text), f"*{SUFFIX}")))
    if "*" in text and not os.path.exists(text):
        return sorted(glob.glob(text))
    return [text] if text.endswith(SUFFIX) else []


def size_of(name: str) -> int | None:
    """Bytes of a file; None if there is none. Raises OSError."""
    try:
        if is_url(name):
            system, path = _system_of(name)
            return int(system.info(path)["size"])
        return os.path.getsize(name)
    except FileNotFoundError:
        return None


def read_file(name: str) -> bytes | None:
    """The content of a small file; None if there is none. Raises OSError."""
    try:
        if is_url(name):
            system, path = _system_of(name)
            return bytes(system.cat_file(path))
        with open(name, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def read_ranges(name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Some bytes of a file.

    Args:
        name: the file or URL.
        ranges: begin and end of each.

    Returns:
        One for each range, shorter than asked for where the file ends.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    if is_url(name):
        system, path = _system_of(name)
        return [bytes(system.cat_file(path, start=begin, end=end)) for begin, end in ranges]
    with open(name, "rb", buffering=0) as file:
        return [_read_at(file, begin, end) for begin, end in ranges]


def _read_at(file: Any, begin: int, end: int) -> bytes:
    file.seek(begin)
    parts, left = [], end - begin
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


@contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """A file to look through, in which one may seek. Raises OSError."""
    if not is_url(name):
        with open(name, "rb") as file:
            yield file
        return
    system, path = _system_of(name)
    with system.open(path, "rb", block_size=_SCAN_BLOCK, cache_type="readahead") as remote:
        yield remote


def _system_of(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec keeps one for each process. Raises ConfigError."""
    try:
        import fsspec
    except ImportError as error:
        raise ConfigError(f"{url}: reading URLs needs fsspec ({error}): pip install 'timechat[remote]'") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a protocol whose package is missing, or that is unknown
        raise ConfigError(f"{url}: fsspec cannot read it: {error}") from error
    return system, str(path)
