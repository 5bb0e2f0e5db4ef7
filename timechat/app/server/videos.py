"""The file of a video, from wherever a request says that it is, within what the operator allows."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from timechat.app.server.containers import NEEDED, suffix_of
from timechat.app.server.errors import RequestError, invalid, too_large
from timechat.app.server.hosts import AllowedHosts, Place
from timechat.app.server.schema import MediaLink
from timechat.app.server.settings import MEGABYTE, ServerSettings
from timechat.errors import ConfigError

try:
    import httpx
except ModuleNotFoundError as error:
    raise ConfigError(f"{__name__} needs httpx ({error}): pip install 'timechat[serve]'") from error

MAX_REDIRECTS = 5
_CHUNK = MEGABYTE
_READ_HERE = {
    "video": "a video of a kind that is read here: MP4, MOV, MKV, WebM, AVI, TS, MPEG, FLV, OGG, WMV or GIF",
    "image": "an image of a kind that is read here: JPEG, PNG, WebP, BMP or GIF",
}


@dataclass(frozen=True)
class MediaFile:
    """A video or image on this machine's disk.

    Attributes:
        path: where; for a fetched one only as long as it is being used.
        digest: SHA-256 of what is in it.
        stamp: `stamp_of` it, from before it was read for the digest.
    """

    path: Path
    digest: str
    stamp: tuple[int, ...]


class MediaFiles:
    """Gets the files of requests.

    Args:
        settings: what is allowed.
        folder: where files that are not on this machine are put for as long as they are read.

    Attributes:
        folder: as given.
        hosts: from which it may read.

    Raises:
        ConfigError: a folder of `settings.media_dirs` is not there, or a host is not one.
    """

    def __init__(self, settings: ServerSettings, folder: Path):
        self._settings, self.folder = settings, folder
        self._limit = settings.max_video_mb * MEGABYTE
        self.hosts = AllowedHosts(settings.hosts)
        for allowed in settings.media_dirs:
            if not allowed.is_dir():
                raise ConfigError(f"--media-dir {allowed}: no such folder")
        self._allowed = [Path(os.path.realpath(allowed)) for allowed in settings.media_dirs]

    @asynccontextmanager
    async def open(self, link: MediaLink) -> AsyncIterator[MediaFile]:
        """The file of a link; what was fetched for it is removed afterwards.

        Raises:
            RequestError: 413 for one that is too large, 422 for one that is not allowed, not there or not a video.
        """
        scheme = link.url[:20].partition(":")[0].lower()
        if scheme == "file":
            yield await asyncio.to_thread(self._local, link)
        elif scheme in ("data", "http", "https"):
            # Not NamedTemporaryFile: the suffix, by which readers know an image, is known only at the end.
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                if scheme == "data":
                    yield await asyncio.to_thread(self._inline, link, Path(folder))
                else:
                    yield await self._fetched(link, Path(folder))
        else:
            raise invalid(link.param, "give a URL that begins with file:, data:, http: or https:")

    # On this machine --------------------------------------------------------------------------------------------------

    def _local(self, link: MediaLink) -> MediaFile:
        """A file in one of the allowed folders, links resolved."""
        # The same words wherever it is, so that nobody learns what there is outside.
        refused = invalid(link.param, "not a file in the folders that this server reads", "file_not_allowed")
        try:
            parts = urlsplit(link.url)
        except ValueError:
            raise refused from None
        name = os.fsdecode(unquote_to_bytes(parts.path))
        is_plain = parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
        if not is_plain or not name.startswith("/") or "\0" in name:
            raise refused
        path = Path(os.path.realpath(name))
        if not any(path.is_relative_to(folder) for folder in self._allowed):
            raise refused
        try:
            # Without O_NONBLOCK a pipe would keep this thread for ever.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            raise refused from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise refused
        with open(descriptor, "rb") as file:
            if status.st_size > self._limit:
                raise self._too_large(link)
            self._suffix(link, file.read(NEEDED))
            file.seek(0)
            digest = hashlib.sha256()
            while piece := file.read(_CHUNK):
                digest.update(piece)
        return MediaFile(path, digest.hexdigest(), _stamp(status))

    # In the request ---------------------------------------------------------------------------------------------------

    def _inline(self, link: MediaLink, folder: Path) -> MediaFile:
        """A `data:` URL."""
        head, comma, text = link.url.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise invalid(link.param, "give data:video/mp4;base64, and the file in base64")
        if len(text) // 4 * 3 > self._limit + 3:
            raise self._too_large(link)
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid(link.param, f"not base64 ({error})") from error
        path = folder / f"media{self._suffix(link, content[:NEEDED])}"
        path.write_bytes(content)
        return MediaFile(path, hashlib.sha256(content).hexdigest(), stamp_of(path))

    # On another machine -----------------------------------------------------------------------------------------------

    async def _fetched(self, link: MediaLink, folder: Path) -> MediaFile:
        try:
            return await asyncio.wait_for(self._follow(link, folder), self._settings.fetch_timeout_s)
        except asyncio.TimeoutError:
            raise invalid(
                link.param, f"not read within {self._settings.fetch_timeout_s:g} seconds", "fetch_failed"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise invalid(link.param, f"cannot be read ({type(error).__name__})", "fetch_failed") from error

    async def _follow(self, link: MediaLink, folder: Path) -> MediaFile:
        """Read a URL; wherever it leads on to is looked at as the first place was."""
        url = link.url
        # No proxy of the environment: it would resolve names by itself.
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=30.0) as client:
            for _ in range(MAX_REDIRECTS + 1):
                place = await self.hosts.place_of(url, link.param)
                async with client.stream("GET", **_request(place)) as response:
                    if response.has_redirect_location:
                        url = _joined(url, response.headers["location"], link.param)
                        continue
                    return await self._download(link, response, folder)
        raise invalid(link.param, f"leads on more than {MAX_REDIRECTS} times", "fetch_failed")

    async def _download(self, link: MediaLink, response: httpx.Response, folder: Path) -> MediaFile:
        if response.status_code != 200:
            raise invalid(link.param, f"the host answers with status {response.status_code}", "fetch_failed")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise invalid(link.param, "the host compresses it, though it was not asked to", "fetch_failed")
        if int(response.headers.get("content-length", "0")) > self._limit:
            raise self._too_large(link)
        raw, digest, size, begin = folder / "raw", hashlib.sha256(), 0, b""
        with raw.open("wb") as file:
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > self._limit:
                    raise self._too_large(link)
                begin += piece[: NEEDED - len(begin)]
                digest.update(piece)
                file.write(piece)
        path = raw.rename(folder / f"media{self._suffix(link, begin)}")
        return MediaFile(path, digest.hexdigest(), stamp_of(path))

    # Checks -----------------------------------------------------------------------------------------------------------

    def _suffix(self, link: MediaLink, begin: bytes) -> str:
        suffix = suffix_of(link.kind, begin)
        if suffix is None:
            raise invalid(link.param, f"not {_READ_HERE[link.kind]}", "unreadable_media")
        return suffix

    def _too_large(self, link: MediaLink) -> RequestError:
        return too_large(f"larger than {self._settings.max_video_mb} MB, the most that this server takes", link.param)


def stamp_of(path: Path) -> tuple[int, ...]:
    """What of a file is another when what is in it has changed; nothing if it is gone."""
    try:
        return _stamp(path.stat())
    except OSError:
        return ()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _joined(url: str, location: str, param: str) -> str:
    """Where a redirect leads. Raises RequestError."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise invalid(param, "leads on to what is no URL", "fetch_failed") from error


def _request(place: Place) -> dict[str, Any]:
    """A request to the address that was looked at, in the name of the host."""
    literal = f"[{place.address}]" if ":" in place.address else place.address
    usual = place.port == {"http": 80, "https": 443}[place.scheme]
    return {
        "url": f"{place.scheme}://{literal}:{place.port}{place.target}",
        "headers": {"host": place.host if usual else f"{place.host}:{place.port}", "accept-encoding": "identity"},
        "extensions": {"sni_hostname": place.host},
    }
