"""Files that the page may read: the examples, and what visitors sent, which is kept for as long as they stay."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timechat.app.web.errors import PageError
from timechat.datasets.video import FRAME_SUFFIXES
from timechat.evaluation.transcripts import SUFFIXES as SPEECH_SUFFIXES

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".wmv", ".flv", ".3gp", ".ogv"),
)
SEEN_SUFFIXES = (*VIDEO_SUFFIXES, *FRAME_SUFFIXES)
MAX_SPEECH_BYTES = 4 << 20
UNCLAIMED_S = 600  # how long a file waits for the visitor who sent it to open it
ROOM = 20  # all files together may take as much as so many of the largest size
MAX_NAME = 120


@dataclass(frozen=True)
class Media:
    """A file that visitors can ask about, or what is said in it.

    Attributes:
        token: its name in addresses; nobody can guess that of another visitor's file.
        path: where it is.
        name: what its owner calls it.
        sent: when, seconds of a monotonic clock; None for an example, which stays.
    """

    token: str
    path: Path
    name: str
    sent: float | None = None


class Uploads:
    """The files of a page; all methods may be called from several threads.

    What visitors sent lies in a folder of its own, which `close` removes with everything in it.

    Args:
        max_bytes: the largest file.
        examples: files, which are never changed.
    """

    def __init__(self, max_bytes: int, examples: Sequence[Path] = ()):
        self.max_bytes = max_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="timechat-demo-"))
        self.examples = [Media(secrets.token_urlsafe(9), path.resolve(), path.name) for path in examples]
        self._files = {media.token: media for media in self.examples}
        self._claimed: set[str] = set()
        self._lock = threading.Lock()

    async def receive(self, name: str, chunks: AsyncIterable[bytes]) -> Media:
        """Store a file while it arrives.

        Args:
            name: as the visitor's browser gives it; only its suffix is used for the file's own name.
            chunks: its content.

        Raises:
            PageError: of a kind that the page has no use for, too large, empty, or there is no room.
        """
        name = Path(name.replace("\\", "/")).name[-MAX_NAME:] or "file"
        limit = self._limit(name)
        self.remove_unclaimed()
        self._check_room()
        token = secrets.token_urlsafe(16)
        path = self.folder / f"{token}{Path(name).suffix.lower()}"
        try:
            size = 0
            with path.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise PageError(f"{name} is larger than {megabytes(limit)}, the limit of this page.")
                    file.write(chunk)
            if not size:
                raise PageError(f"{name} is empty.")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        media = Media(token, path, name, time.monotonic())
        with self._lock:
            self._files[token] = media
        return media

    def get(self, token: str) -> Media:
        """The file of a token. Raises PageError."""
        media = self._files.get(token)
        if media is None:
            raise PageError("This file is no longer here. Drop it again.")
        return media

    def claim(self, token: str) -> Media:
        """The file of a token, which is kept until it is removed. Raises PageError."""
        with self._lock:
            media = self.get(token)
            if media.sent is not None:
                self._claimed.add(token)
            return media

    def remove(self, media: Media) -> None:
        """Forget and delete what a visitor sent; examples stay."""
        if media.sent is None:
            return
        with self._lock:
            self._files.pop(media.token, None)
            self._claimed.discard(media.token)
        media.path.unlink(missing_ok=True)

    def remove_unclaimed(self, older_than: float = UNCLAIMED_S) -> None:
        """Delete what was sent and never opened: its visitor has left."""
        now = time.monotonic()
        for media in list(self._files.values()):
            if media.sent is not None and media.token not in self._claimed and now - media.sent >= older_than:
                self.remove(media)

    def close(self) -> None:
        """Delete everything that was sent, and its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _limit(self, name: str) -> int:
        suffix = Path(name).suffix.lower()
        if suffix in SEEN_SUFFIXES:
            return self.max_bytes
        if suffix in SPEECH_SUFFIXES:
            return MAX_SPEECH_BYTES
        raise PageError(
            f"{name} is neither a video nor an image that this page knows by its name: "
            f"{', '.join(suffix.removeprefix('.') for suffix in SEEN_SUFFIXES)}."
        )

    def _check_room(self) -> None:
        taken = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        if taken >= ROOM * self.max_bytes:
            raise PageError("There is no room for more files right now. Try again when other visitors have left.")


def find_examples(folder: Path, most: int) -> list[Path]:
    """Videos and images of a folder, in order of their names; a link that leads out of it is none of them."""
    inside = folder.resolve()
    found = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SEEN_SUFFIXES and path.is_file())
    return [path for path in found if path.resolve().is_relative_to(inside)][:most]


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 20):.0f} MB" if size >= 1 << 20 else f"{size / (1 << 10):.0f} kB"
