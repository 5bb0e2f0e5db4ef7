"""The other routes of a server, and who may use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.serving import Running, body, data_url, httpx, openai, serving

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import ServerSettings


def test_models_health_and_unknown_pages(running: Running) -> None:
    listed = running.client().models.list().data
    assert [model.id for model in listed] == ["timechat"]
    assert running.client().models.retrieve("timechat") == listed[0]
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        running.client().models.retrieve("other")
    assert running.get("/health").json() == {"status": "ok"}
    assert httpx.head(f"{running.url}/health", trust_env=False).status_code == 200
    for path, status in (("/nothing", 404), ("/docs", 404), ("/openapi.json", 404), ("/v1/chat/completions", 405)):
        answer = running.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")


def test_keys(model: VideoLanguageModel, video: Path) -> None:
    with serving(model, ServerSettings(api_keys=("right", "other"))) as running:
        assert running.client("right").models.list().data
        assert running.client("other").chat.completions.create(**body(data_url(video)))
        for ask in (
            lambda: running.client("wrong").chat.completions.create(**body(data_url(video))),
            lambda: running.client("wrong").models.list(),
            lambda: running.client("wrong").models.retrieve("timechat"),
        ):
            with pytest.raises(openai.AuthenticationError, match="Authorization"):
                ask()
        assert running.get("/health").status_code == 200
