"""The same app as a deployment of Ray Serve."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.serving import QUESTION, body, data_url, httpx, openai, wait_for
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS

from timechat.app.api import VideoLanguageModel
from timechat.app.server.ray_serve import application
from timechat.app.server.settings import ServerSettings
from timechat.errors import ConfigError

OPTIONS = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
REPLICAS = 2
OBJECT_STORE_BYTES = 80 << 20  # nearly the least that Ray takes; nothing goes through it
PATIENCE_S = 300
# Ray is a dozen programs, which start slowly beside other tests: how long it waits for a node, and for its proxy.
WAITS = (
    "RAY_raylet_start_wait_time_s",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S",
)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[serve,ray\]'"):
        application("model.yaml", ServerSettings())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Two replicas behind Ray's proxy."""
    pytest.importorskip("ray.serve", reason="needs Ray Serve: pip install 'timechat[ray]'")
    import ray
    from ray import serve

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else other programs go before the replicas
        for name in WAITS:
            patch.setenv(name, str(PATIENCE_S))
        ray.init(
            num_cpus=REPLICAS, object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, log_to_driver=False
        )
        try:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            with suppress(TimeoutError):  # after a minute, whatever the settings; the proxy goes on starting
                serve.start(http_options={"host": "127.0.0.1", "port": port})
            app = application(
                TINY / "config.yaml", ServerSettings(), options=OPTIONS, device="cpu", num_replicas=REPLICAS
            )
            serve.run(app, name="timechat", route_prefix="/")
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: _is_up(url), PATIENCE_S)
            yield url
        finally:
            serve.shutdown()
            ray.shutdown()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _client(url: str) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http, timeout=PATIENCE_S)


def test_both_replicas_answer_and_answer_the_same(url: str, model: VideoLanguageModel, video: Path) -> None:
    create = _client(url).chat.completions.create
    expected, link = model.ask(video, QUESTION, max_new_tokens=6).text, data_url(video)

    def answer(_: int) -> str:
        return create(**body(link)).choices[0].message.content or ""

    answered: dict[str, float] = {}
    asked = 0
    with ThreadPoolExecutor(4) as clients:
        while min(answered.values(), default=0) == 0 or len(answered) < REPLICAS:
            assert asked < 80, f"answered by each replica: {answered}"
            assert list(clients.map(answer, range(8))) == [expected] * 8
            asked += 8
            answered |= dict(_answered_by_one(url) for _ in range(8))


def _answered_by_one(url: str) -> tuple[str, float]:
    """A replica, known by the moment at which it began to count, and how many answers it has given."""
    page = httpx.get(f"{url}/metrics", trust_env=False, timeout=PATIENCE_S).text
    figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    return figures["timechat_prompt_tokens_created"], float(figures.get('timechat_requests_total{status="200"}', 0))


def test_streams_and_refusals_are_those_of_one_server(url: str, model: VideoLanguageModel, video: Path) -> None:
    create = _client(url).chat.completions.create
    expected = model.ask(video, QUESTION, max_new_tokens=6).text
    pieces = [chunk.choices[0].delta.content or "" for chunk in create(**body(data_url(video), stream=True))]
    assert "".join(pieces) == expected
    assert len(pieces) > 2
    with pytest.raises(openai.UnprocessableEntityError, match="n: "):
        create(**body(data_url(video), n=2))
