"""The page's own addresses, and gradio's that are closed."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.videos import write_video
from helpers.watched import CAPTIONS, Slow, shared

pytest.importorskip("fastapi", reason="pip install 'timechat[demo]'")
httpx = pytest.importorskip("httpx", reason="pip install 'timechat[demo]'")

from timechat.app.web.routes import CLOSED, MOST_SENT, Guard, own_routes  # noqa: E402
from timechat.app.web.session import Settings  # noqa: E402
from timechat.app.web.uploads import Uploads  # noqa: E402
from timechat.app.web.visitors import Visitors  # noqa: E402

OWN = {"x-timechat": "1"}


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    made = Uploads(100_000, [write_video(tmp_path / "a.mp4", frames=40)])
    yield made
    made.close()


@pytest.fixture
def visitors(uploads: Uploads) -> Visitors:
    return Visitors(shared(Slow({"": CAPTIONS})), uploads, 10)


class Client:
    """Requests to the guarded application, without a socket."""

    def __init__(self, uploads: Uploads, visitors: Visitors):
        async def behind(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
            self.reached = (await receive()).get("body")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"gradio"})

        self.reached: bytes | None = None
        self.app = Guard(behind, own_routes(uploads, visitors))

    def __call__(self, method: str, path: str, **options: object) -> Any:
        async def send() -> Any:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())


@pytest.fixture
def client(uploads: Uploads, visitors: Visitors) -> Client:
    return Client(uploads, visitors)


def answered(visitors: Visitors, uploads: Uploads) -> str:
    """The name of an answer with two segments."""
    visitor = visitors.get("me")
    visitor.open(uploads.examples[0].token, 12)
    visitor.begin("What happens?", None)
    for exchange in visitor.answer(Settings(12)):
        token = exchange.token
    return token


def test_a_file_is_sent_and_shown(client: Client, uploads: Uploads, tmp_path: Path) -> None:
    content = (tmp_path / "a.mp4").read_bytes()
    reply = client("POST", "/timechat/upload?name=my%20video.mp4", content=content, headers=OWN)
    assert reply.status_code == 200
    assert reply.json()["name"] == "my video.mp4"
    shown = client("GET", f"/timechat/video/{reply.json()['token']}")
    assert shown.content == content
    assert shown.headers["content-type"] == "video/mp4"
    part = client("GET", f"/timechat/video/{reply.json()['token']}", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, content[4:8])


@pytest.mark.parametrize(
    ("name", "size", "headers", "words"),
    [
        ("a.mp4", 100_001, OWN, "a.mp4 is larger than 98 kB"),
        ("a.html", 1, OWN, "neither a video nor an image"),
        ("a.mp4", 0, OWN, "a.mp4 is empty"),
        ("a.mp4", 1, {}, "Only this page"),
    ],
)
def test_a_file_is_refused(
    client: Client, uploads: Uploads, name: str, size: int, headers: dict[str, str], words: str
) -> None:
    reply = client("POST", f"/timechat/upload?name={name}", content=b"x" * size, headers=headers)
    assert reply.status_code == 400
    assert words in reply.json()["problem"]
    assert list(uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["video/none", "video/..%2f..%2fetc%2fpasswd", "video//etc/passwd", "answers/x.json", "x"]
)
def test_nothing_else_is_shown(client: Client, path: str) -> None:
    assert client("GET", f"/timechat/{path}").status_code in (400, 404)


def test_speech_is_not_shown(client: Client) -> None:
    reply = client("POST", "/timechat/upload?name=a.srt", content=b"x", headers=OWN)
    assert client("GET", f"/timechat/video/{reply.json()['token']}").status_code == 400


def test_a_page_says_that_it_is_there(client: Client, visitors: Visitors) -> None:
    assert client("POST", f"/timechat/here/{visitors.get('me').token}").status_code == 204
    assert client("POST", "/timechat/here/other").status_code == 400


def test_an_answer_is_saved(client: Client, visitors: Visitors, uploads: Uploads) -> None:
    address = f"/timechat/answers/{answered(visitors, uploads)}"
    saved = json.loads(client("GET", f"{address}.json").text)
    assert saved["question"] == "What happens?"
    assert saved["video"] == "a.mp4"
    assert [segment["start"] for segment in saved["segments"]] == [0.5, 2.0]
    assert "00:00:02,000 --> 00:00:03,500" in client("GET", f"{address}.srt").text
    table = client("GET", f"{address}.md")
    assert "bright" in table.text
    assert table.headers["content-disposition"] == "attachment; filename*=UTF-8''a.md"
    assert client("GET", f"{address}.exe").status_code == 400


def test_clips_are_sent_and_removed(client: Client, visitors: Visitors, uploads: Uploads) -> None:
    reply = client("GET", f"/timechat/answers/{answered(visitors, uploads)}.zip")
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert len(archive.namelist()) == 2
        assert all(name.endswith(".mp4") for name in archive.namelist())
    assert list(uploads.folder.iterdir()) == []


def test_clips_of_a_video_that_is_gone(client: Client, visitors: Visitors, uploads: Uploads) -> None:
    token = answered(visitors, uploads)
    uploads.examples[0].path.unlink()
    reply = client("GET", f"/timechat/answers/{token}.zip")
    assert reply.status_code == 400
    assert "a.mp4" in reply.json()["problem"]
    assert list(uploads.folder.iterdir()) == []


@pytest.mark.parametrize("path", [f"{closed}=https://example.org" for closed in CLOSED])
def test_gradios_files_are_closed(client: Client, path: str) -> None:
    assert client("GET", path).status_code == 404
    assert client("POST", path).status_code == 404


def test_the_page_may_load_nothing_from_elsewhere(client: Client) -> None:
    reply = client("GET", "/")
    assert reply.text == "gradio"
    policy = reply.headers["content-security-policy"]
    assert "http" not in policy
    assert policy.startswith("default-src 'self' ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [{"path": "http://example.org/", "meta": {"_type": "gradio.FileData"}}]}',
        b'{"data": [["nested"]]}',
        b'{"data": {"path": "/etc/passwd"}}',
        b"[" * 100_000,
        b"no JSON",
        b'{"data": ["' + b"x" * MOST_SENT + b'"]}',
    ],
)
def test_gradio_is_sent_text_and_numbers_alone(client: Client, body: bytes) -> None:
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
        assert client("POST", path, content=body).status_code == 400
    assert client.reached is None
    plain = b'{"data": ["When?", 3, 0.5, null], "event_data": {"action": "open"}}'
    assert client("POST", "/gradio_api/queue/join", content=plain).text == "gradio"
    assert client.reached == plain
