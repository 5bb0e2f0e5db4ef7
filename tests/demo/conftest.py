"""The page in a real browser (`make test-demo`); without gradio, playwright or chromium its tests are skipped."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import Page
from helpers.videos import write_video
from helpers.watched import CAPTIONS, HIGHLIGHTS, MOMENT, Slow, shared

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "")
# Chromium asks its makers for updates and the like, which no page can help.
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
]
PAUSE = 0.15  # seconds between two words of an answer


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="make test-demo installs playwright")
    pytest.importorskip("gradio", reason="pip install 'timechat[demo]'")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def outside() -> Iterator[list[str]]:
    """Every address outside this machine that this process, the server among it, asks for."""
    asked: list[str] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def watched_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            asked.append(str(address))
        return connect(self, address)

    def watched_resolve(host: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host or "")
        if name not in LOCAL:
            asked.append(name)
        return resolve(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched_connect)
        patch.setattr(socket, "getaddrinfo", watched_resolve)
        yield asked


@pytest.fixture(scope="session")
def model() -> Slow:
    scripts: dict[str, str | Exception] = {
        "memory": MemoryError(),
        "Which moments": HIGHLIGHTS,
        "Find every event": CAPTIONS,
        "": MOMENT,
    }
    return Slow(scripts, PAUSE)


@pytest.fixture(scope="session")
def address(browser: Any, outside: list[str], model: Slow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that is served by this process."""
    from timechat.app.web.launch import PageSettings, serving

    folder = tmp_path_factory.mktemp("examples")
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, frames=50, size=(320, 240))
    settings = PageSettings(
        port=0, examples=str(folder), suggestions=["When is it dark?"], max_upload_mb=0.2, patience_s=1
    )
    with serving(shared(model), "a model that reads from a script", settings) as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str, model: Slow, outside: list[str], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that has just been opened; a test's `size` mark says how wide and high, and `dark` in what colours."""
    width, height = getattr(request, "param", (1200, 900))
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.set_default_timeout(60_000)
    opened = Page(tab, model, outside)
    tab.on("request", lambda asked: opened.hosts.add(asked.url))
    tab.goto(address)
    tab.wait_for_selector(".tc-drop")
    yield opened
    tab.close()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A text that calls itself a video."""
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    return path
