"""Servers behind nginx, with the example of docs/SERVING.md as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers.serving import Held, Running, body, httpx, openai, serving, wait_for

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import MEGABYTE, ServerSettings

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
EXAMPLE = Path(__file__).parents[3] / "docs" / "SERVING.md"
PLACES = "timechat_requests_in_server"


@contextmanager
def nginx(servers: list[Running], folder: Path) -> Iterator[str]:
    """nginx before two servers; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = re.search(r"```nginx\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    assert found
    example = re.sub(r" *ssl_.*\n", "", found[1]).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    for number, server in enumerate(servers):
        example = example.replace(f"10.0.0.1{number + 1}:8000", server.url.removeprefix("http://"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""  # another one could not write into the test's folder
    (folder / "nginx.conf").write_text(
        f"{user}worker_processes 2;\npid {folder}/pid;\nerror_log {folder}/errors;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{example}}}\n"
    )
    command = [str(NGINX), "-p", str(folder), "-c", "nginx.conf", "-e", "errors", "-g", "daemon off;"]
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: process.poll() is not None or not _refuses(port))
        assert process.poll() is None, (folder / "errors").read_text()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def servers(model: VideoLanguageModel, media: Path) -> Iterator[list[Running]]:
    """Two, each with a place for one request."""
    settings = ServerSettings(media_dirs=(media,), max_queue=1)
    with serving(model, settings) as first, serving(model, settings) as second:
        yield [first, second]


@pytest.fixture
def held(model: VideoLanguageModel, servers: list[Running], monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    holding = Held(model, monkeypatch)
    yield holding
    holding.let_go()


@pytest.fixture
def url(servers: list[Running], tmp_path: Path) -> Iterator[str]:
    with nginx(servers, tmp_path) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.DefaultHttpxClient(trust_env=False) as http:
        yield openai.OpenAI(base_url=url, api_key="none", http_client=http, max_retries=0, timeout=60)


def test_words_pass_as_they_are_written(client: openai.OpenAI, held: Held, video: Path) -> None:
    with client.chat.completions.create(**body(video.as_uri(), stream=True)) as stream:
        assert next(stream).choices[0].delta.content == ""
        held.give(3)
        assert next(stream).choices[0].delta.content
        assert not held.finished
        held.let_go()
        assert list(stream)[-1].choices[0].finish_reason == "length"


def test_full_servers_say_so_to_clients_and_are_asked_again_at_once(
    client: openai.OpenAI, held: Held, servers: list[Running], video: Path
) -> None:
    create = client.chat.completions.create
    with ExitStack() as streams:
        for _ in servers:
            next(streams.enter_context(create(**body(video.as_uri(), stream=True))))
        assert [server.figure(PLACES) for server in servers] == [1, 1]
        for _ in range(4):
            with pytest.raises(openai.RateLimitError) as refused:
                create(**body(video.as_uri()))
            assert int(refused.value.response.headers["retry-after"]) >= 1
    held.let_go()
    wait_for(lambda: not any(server.figure(PLACES) for server in servers))
    assert create(**body(video.as_uri())).choices[0].finish_reason


def test_a_client_that_leaves_frees_its_place(
    client: openai.OpenAI, held: Held, servers: list[Running], video: Path
) -> None:
    with client.chat.completions.create(**body(video.as_uri(), stream=True)) as stream:
        next(stream)
        assert sum(server.figure(PLACES) for server in servers) == 1
    held.give()
    wait_for(lambda: not any(server.figure(PLACES) for server in servers))


def test_a_server_that_is_away_is_left_out(model: VideoLanguageModel, media: Path, video: Path, tmp_path: Path) -> None:
    settings = ServerSettings(media_dirs=(media,))
    with ExitStack() as both:
        with serving(model, settings) as second:
            with serving(model, settings) as first:
                url = both.enter_context(nginx([first, second], tmp_path))
            assert [_post(url, json=body(video.as_uri())).status_code for _ in range(6)] == [200] * 6
        nobody = _post(url, json=body(video.as_uri()))
    assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "10")
    assert nobody.json()["error"]["code"] == "unavailable"


def test_requests_pass_up_to_the_limit_of_the_servers(url: str, video: Path) -> None:
    limit = ServerSettings().max_body_mb * MEGABYTE
    kind = {"content-type": "application/json"}
    assert _post(url, content=json.dumps(body(video.as_uri())).encode().ljust(limit), headers=kind).status_code == 200
    refused = _post(url, content=b" " * (limit + 1), headers=kind)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")


def _post(url: str, **options: object) -> httpx.Response:
    return httpx.post(f"{url}/chat/completions", trust_env=False, timeout=60, **options)
