"""Looking at many videos, each once: what was found is kept on disk, so that the next audit goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from timechat.data.audit.faults import MISSING, POINTER, TOO_SHORT, UNREADABLE
from timechat.data.worker_pool import chunks, in_order
from timechat.datasets.readers.base import one_line
from timechat.datasets.readers.guard import check_video
from timechat.datasets.readers.header import Header
from timechat.errors import VideoError
from timechat.io import json_line
from timechat.lfs import pointer_problem

HEADER, DECODE = "header", "decode"
_CHUNK = 16  # videos that a process is given at once: what a killed audit forgets


@dataclass(frozen=True)
class Look:
    """What was found in a file.

    Attributes:
        path: relative to the folder of the videos.
        size, changed: bytes, and nanoseconds: a file with others is looked at again.
        how: header | decode, which includes the header.
        header: None if the file is no video that can be read.
        fault: missing | lfs-pointer | unreadable, or "" if it can be read.
        problem: what is wrong with it.
    """

    path: str
    size: int
    changed: int
    how: str
    header: Header | None
    fault: str = ""
    problem: str = ""

    def judge(self, min_seconds: float) -> tuple[str, str] | None:
        """Fault and detail; None if it is fine. An image has no frame rate, and is never too short."""
        if self.fault:
            return self.fault, self.problem
        if self.header and self.header.fps and self.header.seconds - self.header.begin < min_seconds:
            return TOO_SHORT, f"{self.header.seconds - self.header.begin:.2f} s"
        return None


@dataclass(frozen=True)
class Looking:
    """How files are looked at.

    Attributes:
        folder: that the paths are relative to.
        how: header | decode.
        images: whether they are images.
        timeout_s: for one file.
    """

    folder: str
    how: str = HEADER
    images: bool = False
    timeout_s: float = 120.0


class Looks:
    """The looks of this audit and of those before, in a file to which each new one is added.

    Args:
        file: JSON lines; damaged ones, as a killed process leaves at the end, are left out.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._looks: dict[str, Look] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
            if look := _look_of(line):
                self._looks[look.path] = look

    def __getitem__(self, path: str) -> Look:
        return self._looks[path]

    def look_at(self, paths: Sequence[str], looking: Looking, workers: int) -> int:
        """Look at the files that are new, changed, or were not looked at as closely; returns how many these were.

        Raises:
            OSError: nothing can be kept. ConfigError: a process was killed.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = 0
        known = ([(path, self._looks.get(path)) for path in chunk] for chunk in chunks(paths, _CHUNK))
        with self._file.open("a", encoding="utf-8") as file, tqdm(total=len(paths), unit="video", disable=None) as bar:
            if file.tell():
                file.write("\n")  # behind half a line
            for looks in in_order(partial(_look_at_all, looking=looking), known, workers):
                for look in looks:
                    if look != self._looks.get(look.path):
                        file.write(json_line(asdict(look)))
                        new += 1
                    self._looks[look.path] = look
                file.flush()
                bar.update(len(looks))
        return new


def _look_of(line: str) -> Look | None:
    try:
        content = json.loads(line)
        header = content.pop("header")
        return Look(header=Header(**header) if header else None, **content)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def _look_at_all(known: Iterable[tuple[str, Look | None]], looking: Looking) -> list[Look]:
    return [_look_at(path, before, looking) for path, before in known]


def _look_at(path: str, before: Look | None, looking: Looking) -> Look:
    name = os.path.join(looking.folder, path)
    try:
        status = os.stat(name)
        size, changed = status.st_size, status.st_mtime_ns
        if before and (before.size, before.changed) == (size, changed) and before.how in (looking.how, DECODE):
            return before
        return _new_look(path, name, size, changed, looking)
    except (FileNotFoundError, NotADirectoryError):
        return Look(path, -1, 0, looking.how, None, MISSING, "no such file")
    except OSError as error:
        return Look(path, -1, 0, looking.how, None, UNREADABLE, f"cannot be read ({error})")


def _new_look(path: str, name: str, size: int, changed: int, looking: Looking) -> Look:
    def bad(problem: str, fault: str = UNREADABLE) -> Look:
        return Look(path, size, changed, looking.how, None, fault, problem)

    if problem := pointer_problem(name):
        return bad(problem, POINTER)
    if not os.path.isfile(name):
        return bad("is not a file")
    if not size:
        return bad("is empty; download it again")
    try:
        header = _image(name, looking.how) if looking.images else check_video(name, looking.how, looking.timeout_s)
    except VideoError as error:
        return bad(error.reason)
    return Look(path, size, changed, looking.how, header)


def _image(name: str, how: str) -> Header:
    """An image as a video of one frame without a rate. Raises VideoError."""
    try:
        with Image.open(name) as image:
            if how == DECODE:
                image.load()
            return Header(0.0, 0.0, 1, 0.0, *image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(name, f"is not an image that can be read ({one_line(error)})") from error
