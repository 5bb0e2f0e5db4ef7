"""The process that reads videos for another one, so that a file on which it hangs or crashes costs only this process.

It gets requests as lines of JSON on its standard input, and answers on its standard output with a line of JSON,
followed by the bytes of one array. It ends when its standard input does, also while it hangs.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from timechat.datasets.readers.base import VideoReader
from timechat.datasets.readers.header import decode_all, read_header
from timechat.datasets.readers.local import open_here
from timechat.errors import ConfigError, VideoError

CHECKS = {"header": read_header, "decode": decode_all}


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print must not get between the answers
    reader = _Readers()
    for request in _requests():
        about, array = _answer(reader, request)
        about |= {"dtype": array.dtype.str, "shape": array.shape}
        _send(answers, json.dumps(about).encode() + b"\n")
        _send(answers, np.ascontiguousarray(array).data.cast("B") if array.size else b"")


class _Readers:
    """The reader that was opened last: frames are mostly asked for right after it was opened."""

    def __init__(self) -> None:
        self._what: tuple[Any, ...] | None = None
        self._reader: VideoReader | None = None

    def get(self, name: str, image_size: int | None, choice: str, looks_dir: str) -> VideoReader:
        """The reader of a file, opened anew if the file has changed. Raises what `open_here` raises."""
        status = os.stat(name)
        what = (name, image_size, choice, status.st_size, status.st_mtime_ns)
        if self._reader is None or what != self._what:
            self._what = self._reader = None
            self._reader = open_here(name, image_size, choice, looks_dir)
            self._what = what
        return self._reader


def _answer(readers: _Readers, request: dict[str, Any]) -> tuple[dict[str, Any], NDArray[Any]]:
    indices, check = request.pop("indices", None), request.pop("check", None)
    try:
        if check is not None:
            return asdict(CHECKS[check](request["name"])), np.empty(0)
        reader = readers.get(**request)
        if indices is None:
            return {"fps": reader.fps, "how": reader.how}, reader.spans
        frames, shown = reader.read(indices)
    except VideoError as error:
        return {"video": error.reason}, np.empty(0)
    except ConfigError as error:
        return {"config": str(error)}, np.empty(0)
    except (OSError, MemoryError) as error:
        return {"video": f"cannot be read ({type(error).__name__}: {error})"}, np.empty(0)
    except Exception:
        return {"bug": traceback.format_exc()}, np.empty(0)
    return {"shown": shown}, frames


def _requests() -> Iterator[dict[str, Any]]:
    """Requests as they come; a thread waits for them, and ends this process with its parent."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def receive() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def _send(answers: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[answers.write(left) :]
