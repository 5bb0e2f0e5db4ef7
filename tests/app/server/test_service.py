"""Places in a server, and videos that several ask for at once."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.serving import data_url

from timechat.app.api import VideoLanguageModel
from timechat.app.server.errors import RequestError
from timechat.app.server.schema import MediaLink
from timechat.app.server.service import Service
from timechat.app.server.settings import ServerSettings
from timechat.errors import ConfigError


class Encoding:
    """Counts the videos that a model encodes, and can hold it up."""

    def __init__(self, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch):
        self.count, self.free = 0, threading.Event()
        self._encode = model.encode_video
        monkeypatch.setattr(model, "encode_video", self._counted)
        self.free.set()

    def _counted(self, *args: Any) -> Any:
        self.count += 1
        assert self.free.wait(60)
        return self._encode(*args)


@pytest.fixture
def encoding(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> Encoding:
    return Encoding(model, monkeypatch)


@pytest.fixture
def service(model: VideoLanguageModel, encoding: Encoding) -> Iterator[Service]:
    service = Service(model, ServerSettings(max_queue=3, max_batch=2))
    service.start()
    yield service
    service.stop()


def test_a_video_that_changes_while_it_is_read_is_not_kept(
    model: VideoLanguageModel, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(video.read_bytes())
    service = Service(model, ServerSettings(media_dirs=(tmp_path,)))
    decode = service._decode_video

    def decode_later(link: MediaLink, found: Path) -> Any:
        path.write_bytes(video.read_bytes() + bytes(1))
        return decode(link, found)

    service.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(service, "_decode_video", decode_later)
            with pytest.raises(RequestError, match="changed while it was read"):
                asyncio.run(service.see(MediaLink("video", path.as_uri(), "url")))
        assert service.metrics.cached._value.get() == 0
        asyncio.run(service.see(MediaLink("video", path.as_uri(), "url")))
    finally:
        service.stop()


def test_errors_do_not_say_where_a_file_lies(service: Service) -> None:
    ogg = base64.b64encode(b"OggS" + bytes(1000)).decode()
    with pytest.raises(RequestError, match="cannot be decoded") as caught:
        asyncio.run(service.see(MediaLink("video", f"data:video/ogg;base64,{ogg}", "url")))
    assert str(service.files.folder) not in str(caught.value)


def test_a_video_is_encoded_once_for_all_who_ask(service: Service, encoding: Encoding, video: Path) -> None:
    async def run() -> None:
        link = MediaLink("video", data_url(video), "url")
        seen = await asyncio.gather(*(service.see(link) for _ in range(4)))
        assert all(each is seen[0] for each in seen)
        assert len(seen[0].seconds or []) == 12

    asyncio.run(run())
    assert encoding.count == 1


def test_when_the_first_leaves_the_next_goes_on(service: Service, encoding: Encoding, video: Path) -> None:
    async def run() -> None:
        encoding.free.clear()
        link = MediaLink("video", data_url(video), "url")
        first = asyncio.ensure_future(service.see(link))
        while not encoding.count:  # of two at once, either could be the first
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(service.see(link))
        [lock] = service._locks.values()
        while not lock._waiters:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        encoding.free.set()
        assert (await second).seconds
        assert first.cancelled()

    asyncio.run(run())
    assert encoding.count == 2


def test_nothing_is_kept_without_memory_for_it(model: VideoLanguageModel, encoding: Encoding, video: Path) -> None:
    service = Service(model, ServerSettings(cache_mb=0))
    service.start()
    for _ in range(2):
        asyncio.run(service.see(MediaLink("video", data_url(video), "url")))
    service.stop()
    assert encoding.count == 2


def test_places(service: Service) -> None:
    with service.place(), service.place():
        with service.place(), pytest.raises(RequestError, match="3 requests") as caught, service.place():
            pass
        assert (caught.value.status, caught.value.retry_after) == (429, 2)  # two batches of about a second
        with service.place():
            pass


def test_the_end_removes_all_files(model: VideoLanguageModel) -> None:
    service = Service(model, ServerSettings())
    folder = service.files.folder
    assert folder.is_dir()
    assert not service.running
    service.start()
    assert service.running
    service.stop()
    assert not folder.exists()
    assert not service.running


def test_a_model_that_cannot_be_watched(model: VideoLanguageModel) -> None:
    other = SimpleNamespace(model=object(), cfg=model.cfg)
    with pytest.raises(ConfigError, match=r"model\.arch=timechat: a server counts tokens"):
        Service(other, ServerSettings())  # type: ignore[arg-type]
