"""A server on a real socket, in a thread of the test, and requests to it.

Test files that import this are skipped where a package of the extra `serve`, or the client, is not installed.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import ServerSettings

if TYPE_CHECKING:
    from timechat.app.server.service import Service

REASON = "the tests of the server need the packages of the extra serve, and openai: pip install 'timechat[dev]'"
httpx, openai, uvicorn, _, _ = (
    pytest.importorskip(name, reason=REASON) for name in ("httpx", "openai", "uvicorn", "fastapi", "prometheus_client")
)

QUESTION = "When does the chef cut the bread?"


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        url: where, without a path.
        service: what answers.
        server: uvicorn's.
        thread: in which it runs.
    """

    url: str
    service: Service
    server: uvicorn.Server
    thread: threading.Thread

    def client(self, key: str = "none", **options: Any) -> openai.OpenAI:
        """OpenAI's own client, which sends each request once."""
        http = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, http_client=http, max_retries=0, **options)

    def post(self, body: Any, **options: Any) -> httpx.Response:
        """A request as it stands."""
        with httpx.Client(trust_env=False, timeout=60) as http:
            return http.post(f"{self.url}/v1/chat/completions", json=body, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=60) as http:
            return http.get(f"{self.url}{path}", **options)

    def figure(self, name: str) -> float:
        """A line of the metrics."""
        lines = dict(line.rsplit(" ", 1) for line in self.get("/metrics").text.splitlines() if line[0] != "#")
        return float(lines.get(name, "nan"))


@contextmanager
def serving(model: VideoLanguageModel, settings: ServerSettings) -> Iterator[Running]:
    """A server on a free port of this machine."""
    from timechat.app.server.app import create_app

    app = create_app(model, settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", app.state.service, server, thread)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is so; an AssertionError if it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def data_url(path: Path, kind: str = "video/mp4") -> str:
    """A file as a URL that contains it."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def body(url: str, question: str = QUESTION, **fields: Any) -> dict[str, Any]:
    """A request about a video."""
    return {"model": "timechat", "messages": [user(video_part(url), text_part(question))], "max_tokens": 6, **fields}


class Held:
    """Lets a model write only as many tokens as it is given, so that a test decides what happens when.

    Args:
        model: whose answers are held up as long as `monkeypatch` lasts.

    Attributes:
        sizes: how many answers each batch has had.
        finished: how many tokens the longest answer of each finished batch has.
    """

    def __init__(self, model: VideoLanguageModel, monkeypatch: Any):
        self._answer = model.answer
        self._tokens = threading.Semaphore(0)
        self._free = False
        self.sizes: list[int] = []
        self.finished: list[int] = []
        monkeypatch.setattr(model, "answer", self._held)

    def give(self, tokens: int = 1) -> None:
        """Let the model write so many more."""
        self._tokens.release(tokens)

    def let_go(self) -> None:
        """Let it write as much as it likes."""
        self._free = True
        self._tokens.release()

    def _held(self, videos: Any, *rest: Any, watch: Any, **options: Any) -> list[str]:
        self.sizes.append(len(videos))
        written = [0]

        def wait(partials: Any) -> list[bool]:
            if not self._free:
                self._tokens.acquire()
                if self._free:
                    self._tokens.release()  # another server's model may wait too
            written[0] += 1
            return watch(partials)

        answers = self._answer(videos, *rest, watch=wait, **options)
        self.finished.append(written[0])
        return answers
