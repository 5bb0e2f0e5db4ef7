"""Files of requests: allowed folders, data in the request, other hosts; and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.serving import data_url
from PIL import Image

from timechat.app.server.errors import RequestError
from timechat.app.server.hosts import AllowedHosts
from timechat.app.server.schema import MediaLink
from timechat.app.server.settings import ServerSettings
from timechat.app.server.videos import MAX_REDIRECTS, MediaFiles
from timechat.errors import ConfigError


def read(url: str, tmp_path: Path, kind: str = "video", **settings: Any) -> tuple[bytes, str, str]:
    """Content, digest and suffix of the file of a link; and afterwards nothing of it is left."""
    kept = tmp_path / "fetched"
    kept.mkdir(exist_ok=True)
    files = MediaFiles(ServerSettings(**settings), kept)

    async def run() -> tuple[bytes, str, str]:
        async with files.open(MediaLink(kind, url, "url")) as file:  # type: ignore[arg-type]
            return file.path.read_bytes(), file.digest, file.path.suffix

    try:
        return asyncio.run(run())
    finally:
        assert list(kept.iterdir()) == []


# On this machine ------------------------------------------------------------------------------------------------------


def test_a_file_in_an_allowed_folder(video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    expected = (content, hashlib.sha256(content).hexdigest(), ".mp4")
    for url in (video.as_uri(), f"file://localhost{video}", video.as_uri().replace("v.mp4", "%76.mp4")):
        assert read(url, tmp_path, media_dirs=(video.parent,)) == expected
    (tmp_path / "alias").symlink_to(video.parent)
    assert read(f"file://{tmp_path}/alias/v.mp4", tmp_path, media_dirs=(tmp_path / "alias",)) == expected


def test_nothing_outside_can_be_read_or_told_from_nothing(video: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-not"
    inside.mkdir()
    outside.mkdir()
    (outside / "v.mp4").write_bytes(video.read_bytes())
    (inside / "link.mp4").symlink_to(outside / "v.mp4")
    (inside / "folder").symlink_to(outside)
    os.mkfifo(inside / "pipe")
    names = (
        f"{outside}/v.mp4", f"{outside}/gone.mp4", f"{inside}/../in-not/v.mp4", f"{inside}/%2e%2e/in-not/v.mp4",
        f"{inside}/link.mp4", f"{inside}/folder/v.mp4", f"{inside}/gone.mp4", f"{inside}/pipe", str(inside),
        "/dev/zero", "[", "[::1/v.mp4", f"{inside}/v.mp4%00", f"{inside}/v.mp4?x",
        f"otherhost{inside}/v.mp4", "", "in/v.mp4",
    )  # fmt: skip
    told = set()
    for name in names:
        with pytest.raises(RequestError) as caught:
            read(f"file://{name}", tmp_path, media_dirs=(inside,))
        told.add((caught.value.status, str(caught.value)))
    assert told == {(422, "url: not a file in the folders that this server reads")}
    with pytest.raises(RequestError, match="not a file in the folders"):
        read(video.as_uri(), tmp_path)


def test_files_that_lead_elsewhere_or_are_too_large(video: Path, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:2,\n{video.as_uri()}\n#EXT-X-ENDLIST\n")
    with pytest.raises(RequestError, match="not a video of a kind that is read here: MP4"):
        read((tmp_path / "list.mp4").as_uri(), tmp_path, media_dirs=(tmp_path,))
    (tmp_path / "large.mp4").write_bytes(video.read_bytes() + bytes(1 << 20))
    with pytest.raises(RequestError, match="larger than 1 MB") as caught:
        read((tmp_path / "large.mp4").as_uri(), tmp_path, media_dirs=(tmp_path,), max_video_mb=1)
    assert caught.value.status == 413


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--media-dir .*gone: no such folder"):
        MediaFiles(ServerSettings(media_dirs=(tmp_path / "gone",)), tmp_path)


# In the request -------------------------------------------------------------------------------------------------------


def test_data_in_the_request(video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    assert read(data_url(video), tmp_path) == (content, hashlib.sha256(content).hexdigest(), ".mp4")
    Image.new("RGB", (8, 8)).save(tmp_path / "i.png")
    assert read(data_url(tmp_path / "i.png", "image/jpeg"), tmp_path, "image")[2] == ".png"


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("data:video/mp4;base64,AAAA####", 422, "not base64"),
        ("data:video/mp4;base64", 422, "in base64"),
        ("data:video/mp4,abc", 422, "in base64"),
        ("data:video/mp4;base64,", 422, "not a video of a kind"),
        ("data:video/mp4;base64,SGVsbG8h", 422, "not a video of a kind"),
        ("data:video/mp4;base64," + "A" * (3 << 19), 413, "larger than 1 MB"),
        ("v.mp4", 422, "begins with file:, data:, http: or https:"),
        ("gopher://x/", 422, "begins with file:"),
    ],
)
def test_data_that_is_none(url: str, status: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read(url, tmp_path, max_video_mb=1)
    assert caught.value.status == status


# On another machine ---------------------------------------------------------------------------------------------------


class Pages:
    """What a web server has, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []


@contextmanager
def web_server() -> Iterator[Pages]:
    pages = Pages()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages.asked.append((self.path, self.headers["host"]))
            status, headers, content = pages.pages[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pages.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield pages
        server.shutdown()
        thread.join()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    """A web server on this machine, whose address alone counts as a public one."""
    monkeypatch.setattr(AllowedHosts, "is_public", lambda self, address: address == "127.0.0.1")
    with web_server() as pages:
        yield pages


def fetch(pages: Pages, tmp_path: Path, path: str = "/v.mp4", **settings: Any) -> tuple[bytes, str, str]:
    hosts = (f"localhost:{pages.port}",)
    return read(f"http://localhost:{pages.port}{path}", tmp_path, hosts=hosts, **settings)


def test_a_video_of_another_host(pages: Pages, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the name of the host, from the address that was looked at, past the proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(AllowedHosts, "_resolve", _resolved)
    pages.pages["/v.mp4?x=%20"] = (200, {}, video.read_bytes())
    assert fetch(pages, tmp_path, "/v.mp4?x=%20")[2] == ".mp4"
    assert pages.asked == [("/v.mp4?x=%20", f"localhost:{pages.port}")]


async def _resolved(self: AllowedHosts, host: str, port: int, param: str) -> list[str]:
    return ["127.0.0.1"]


def test_where_it_leads_on_is_looked_at_again(pages: Pages, video: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(AllowedHosts, "_resolve", _resolved)
    pages.pages["/a"] = (302, {"location": "/v.mp4"}, b"")
    pages.pages["/v.mp4"] = (200, {}, video.read_bytes())
    assert fetch(pages, tmp_path, "/a")[0] == video.read_bytes()
    for elsewhere in (f"http://127.0.0.1:{pages.port}/v.mp4", "http://169.254.169.254/latest", "file:///etc/passwd"):
        pages.pages["/a"] = (307, {"location": elsewhere}, b"")
        pages.asked.clear()
        with pytest.raises(RequestError) as caught:
            fetch(pages, tmp_path, "/a")
        assert caught.value.status == 422
        assert [path for path, _ in pages.asked] == ["/a"]
    pages.pages["/a"] = (302, {"location": "http://[/"}, b"")
    with pytest.raises(RequestError, match="leads on to what is no URL"):
        fetch(pages, tmp_path, "/a")
    pages.pages["/a"] = (302, {"location": "/a"}, b"")
    with pytest.raises(RequestError, match=f"more than {MAX_REDIRECTS} times"):
        fetch(pages, tmp_path, "/a")


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected", "message"),
    [
        (404, {}, b"", 422, "status 404"),
        (200, {}, b"<html>", 422, "not a video"),
        (200, {"content-encoding": "gzip"}, b"", 422, "compresses"),
        (200, {"content-length": str(1 << 30)}, b"", 413, "larger than 1 MB"),
        (200, {"content-length": "many"}, b"", 422, "cannot be read"),
        (200, {}, b"\x1a\x45\xdf\xa3" + bytes(1 << 20), 413, "larger than 1 MB"),
        (200, {"content-length": "1000"}, b"\x1a\x45\xdf\xa3", 422, "cannot be read"),
    ],
)
def test_hosts_that_give_something_else(
    pages: Pages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    content: bytes,
    expected: int,
    message: str,
) -> None:
    monkeypatch.setattr(AllowedHosts, "_resolve", _resolved)
    pages.pages["/v.mp4"] = (status, headers, content)
    with pytest.raises(RequestError, match=message) as caught:
        fetch(pages, tmp_path, max_video_mb=1)
    assert caught.value.status == expected


def test_a_path_that_cannot_be_asked_for(pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AllowedHosts, "_resolve", _resolved)
    with pytest.raises(RequestError, match="InvalidURL"):
        fetch(pages, tmp_path, "/\0")


def test_a_host_that_takes_too_long(pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: AllowedHosts, host: str, port: int, param: str) -> list[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(AllowedHosts, "_resolve", never)
    with pytest.raises(RequestError, match=r"not read within 0\.05 seconds"):
        fetch(pages, tmp_path, fetch_timeout_s=0.05)


def test_this_machine_is_private(tmp_path: Path) -> None:
    with web_server() as pages:
        with pytest.raises(RequestError, match="not a public host"):
            fetch(pages, tmp_path)
        assert pages.asked == []
