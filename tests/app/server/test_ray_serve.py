"""The same app as a deployment of Ray Serve."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.serving import QUESTION, body, data_url, openai
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS

from timechat.app.api import VideoLanguageModel
from timechat.app.server.ray_serve import application
from timechat.app.server.settings import ServerSettings
from timechat.errors import ConfigError

OPTIONS = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
PORT = 8765


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[serve,ray\]'"):
        application("model.yaml", ServerSettings())


@pytest.fixture
def url() -> Iterator[str]:
    """Two replicas behind Ray's proxy."""
    pytest.importorskip("ray.serve", reason="needs Ray Serve: pip install 'timechat[ray]'")
    import ray
    from ray import serve

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    app = application(TINY / "config.yaml", ServerSettings(), options=OPTIONS, device="cpu", num_replicas=2)
    serve.run(app, name="timechat", route_prefix="/")
    yield f"http://127.0.0.1:{PORT}/v1"
    serve.shutdown()
    ray.shutdown()


def test_replicas_answer_as_one_server(url: str, model: VideoLanguageModel, video: Path) -> None:
    http = openai.DefaultHttpxClient(trust_env=False)
    create = openai.OpenAI(base_url=url, api_key="none", http_client=http).chat.completions.create
    expected = model.ask(video, QUESTION, max_new_tokens=6).text
    for _ in range(4):
        assert create(**body(data_url(video))).choices[0].message.content == expected
    pieces = [chunk.choices[0].delta.content or "" for chunk in create(**body(data_url(video), stream=True))]
    assert "".join(pieces) == expected
    with pytest.raises(openai.UnprocessableEntityError, match="n: "):
        create(**body(data_url(video), n=2))
