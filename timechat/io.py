"""Writing files that are never half written, finding out whether a file has changed, and which code is running."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from timechat.errors import FileError

NOT_THERE = "not there"  # the state of a missing file
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.tmp")  # what `replacing` calls the files that it writes


@contextmanager
def replacing(path: str | Path, *, synced: bool = False) -> Iterator[Path]:
    """A temporary path next to `path`, for a `with` block that writes there; afterwards it is renamed to `path`.

    So `path` is never half written, whenever the process ends, and several processes may write the same file. After an
    error the temporary file is removed, and an earlier file stays.

    Args:
        path: the file to write; its folder is created if it is missing.
        synced: return only when the content and the name are on the disk.

    Raises:
        FileError: the folder cannot be created, or the file cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # a killed process with the same id may have left one
        yield temporary
        if synced:
            sync(temporary)
        os.replace(temporary, path)
        if synced:
            sync(path.parent)
    except OSError as error:
        if _is_about(error, temporary):
            raise FileError(path, error, "written") from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> list[Path]:
    """Create a folder if it is missing; returns what was created, the innermost first, for `remove_empty`.

    Raises:
        FileError: it cannot be created.
    """
    if path.is_dir():
        return []
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(missing)
        raise FileError(path, error, "written") from error
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that hold nothing, the innermost first; others stay."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error of a `with` block is about the file that it writes; a full disk names no file."""
    return error.errno in _FULL or error.filename in (temporary, str(temporary))


def check_readable(path: str | Path) -> None:
    """Raise FileError if a file cannot be opened for reading, for example because it is a folder."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise FileError(path, error, "read") from error


def remove_left_overs(paths: Iterable[str | Path]) -> None:
    """Remove what processes that were killed left of the files that they wrote through `replacing`.

    Args:
        paths: the files, as they were to be called. Each of their folders is listed once.
    """
    names: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        for name in os.listdir(folder) if folder.is_dir() else ():
            found = _TEMPORARY.fullmatch(name)
            if found and found["name"] in wanted and not process_lives(int(found["pid"])):
                (folder / name).unlink(missing_ok=True)


def process_lives(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # for example somebody else's process
        pass
    return True


def sync(path: str | Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file through `replacing`. Raises FileError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file through `replacing`. Raises FileError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any, *, indent: int = 2) -> None:
    """Write an indented JSON file, keys in the order given. Raises FileError."""
    write_text(path, json_text(content, indent=indent) + "\n")


def write_json_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line. Raises FileError."""
    write_text(path, "".join(json_line(row) for row in rows))


def json_line(row: Mapping[str, Any]) -> str:
    """One line of a JSON lines file, newline included."""
    return json_text(row) + "\n"


def json_text(content: Any, *, indent: int | None = None) -> str:
    """A value as JSON, keys in the order given; one line without an indent."""
    # A command line or a file's name may contain bytes that are not text. Python keeps them as lone surrogates, which
    # UTF-8 cannot encode; JSON escapes them with a backslash.
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def sha256_of(text: str) -> str:
    """SHA-256 of a text's UTF-8 encoding, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_state(name: str | Path) -> str:
    """Size and modification time of a file, or of all files of a folder: cheap, unlike a hash of 13 GB."""
    path = Path(name)
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    if not stats:
        return NOT_THERE
    return f"{sum(s.st_size for s in stats)} bytes, changed at {max(s.st_mtime_ns for s in stats)} ns"


def git_state(file: str | Path = __file__) -> dict[str, Any] | None:
    """The commit that a source file belongs to; by default the running package's.

    Returns:
        `commit`, and `dirty`: whether tracked files differ from it; None outside of a git checkout.
    """
    path = Path(file)
    # A package in a virtual environment may be inside of another project's checkout.
    if _git(path.parent, "ls-files", "--error-unmatch", path.name) is None:
        return None
    changes = _git(path.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(path.parent, "rev-parse", "HEAD"), "dirty": bool(changes)}


def git_commit(file: str | Path = __file__) -> str | None:
    """The same as one word: the commit, with -dirty appended if tracked files differ; None without a commit."""
    state = git_state(file)
    if state is None or state["commit"] is None:
        return None
    return f"{state['commit']}-dirty" if state["dirty"] else state["commit"]


def _git(folder: Path, *command: str) -> str | None:
    """What git says about a folder; None if it refuses or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
