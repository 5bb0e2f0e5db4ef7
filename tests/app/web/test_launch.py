"""The page as it is served, without a browser: what it answers, what it refuses, and what it leaves behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from helpers.videos import write_video
from helpers.watched import shared

pytest.importorskip("gradio", reason="pip install 'timechat[demo]'")
import httpx

from timechat.app.web.launch import PageSettings, serving
from timechat.errors import ConfigError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_page_is_served_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    write_video(examples / "a.mp4")
    (examples / "broken.mp4").write_text("no video")
    secret = tmp_path / "secret.mp4"
    secret.write_text("secret")
    with serving(shared(), "the model's name", PageSettings(port=0, examples=str(examples))) as address:
        page = httpx.get(address)
        assert page.status_code == 200
        for words in ("the model&#x27;s name", "a.mp4", "broken.mp4", "Drop a video or an image here"):
            assert words.replace("&", "\\u0026") in page.text or words in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        sent = httpx.post(f"{address}timechat/upload?name=b.mp4", content=b"x", headers={"x-timechat": "1"})
        assert sent.status_code == 200
        for path in ("gradio_api/file=", "gradio_api/proxy=http:/", "file="):
            assert httpx.get(f"{address}{path}{secret}").status_code == 404
        refused = httpx.post(f"{address}gradio_api/upload", files={"files": b"x"})
        assert refused.status_code == 404
        assert list(temporary.glob("timechat-demo-*/*.mp4"))
        with pytest.raises(ConfigError, match="--port"), serving(shared(), "", PageSettings(port=_port(address))):
            pass
    assert list(temporary.rglob("*.mp4")) == []
    assert list(temporary.glob("timechat-demo-*")) == []


def test_no_function_of_the_page_is_an_interface_for_programs(tmp_path: Path) -> None:
    with serving(shared(), "", PageSettings(port=0)) as address:
        interface = httpx.get(f"{address}gradio_api/info").json()
    assert interface["named_endpoints"] == {}


def test_examples_that_are_not_there() -> None:
    with (
        pytest.raises(ConfigError, match="--examples none: no such folder"),
        serving(shared(), "", PageSettings(port=0, examples="none")),
    ):
        pass


def _port(address: str) -> int:
    return httpx.URL(address).port or 80
