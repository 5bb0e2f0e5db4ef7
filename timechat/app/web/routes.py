"""The page's own addresses: files come in, videos and answers go out. Those of gradio that touch files are closed.

Gradio's would also fetch what an address names from elsewhere, and give out whatever lies in its cache.
"""

from __future__ import annotations

import json
import mimetypes
import shutil
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from timechat.app.exports import cut_clips, to_json, to_markdown, to_srt
from timechat.app.web.errors import PageError, in_words
from timechat.app.web.session import Exchange
from timechat.app.web.uploads import SEEN_SUFFIXES, Media, Uploads
from timechat.app.web.visitors import Visitors
from timechat.errors import ConfigError

try:
    from fastapi import BackgroundTasks, FastAPI, Request
    from fastapi.middleware import Middleware
    from fastapi.responses import FileResponse, JSONResponse, Response
except ImportError as error:
    raise ConfigError(f"the web page needs fastapi ({error}): pip install 'timechat[demo]'") from error

PREFIX = "/timechat"
HEADER = "x-timechat"  # a page of another site cannot send it
CLOSED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream", "/file", "/proxy")
MOST_SENT = 1 << 20  # bytes of a question and the settings; files go another way
# Gradio's own code needs to be evaluated; but nothing may come from, or go to, another host.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)
TEXTS: dict[str, Callable[[Exchange, Media], str]] = {
    "json": lambda exchange, media: to_json(_answer(exchange), exchange.question, media.name),
    "srt": lambda exchange, media: to_srt(_answer(exchange)),
    "md": lambda exchange, media: to_markdown(_answer(exchange)) + "\n",
}
CLIPS = "zip"

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Routes:
    """What the addresses below `PREFIX` do.

    Args:
        uploads: the files.
        visitors: their answers.
    """

    def __init__(self, uploads: Uploads, visitors: Visitors):
        self.uploads, self.visitors = uploads, visitors

    async def upload(self, request: Request, name: str) -> Any:
        """Take a file that the page sends as the body of its request."""
        if HEADER not in request.headers:
            raise PageError("Only this page sends files here.")
        media = await self.uploads.receive(name, request.stream())
        return {"token": media.token, "name": media.name}

    def video(self, token: str) -> Response:
        """A video or an image for the browser to show, in parts if it wants."""
        media = self.uploads.get(token)
        if media.path.suffix.lower() not in SEEN_SUFFIXES:
            raise PageError(f"{media.name} is not for showing.")
        kind = mimetypes.guess_type(media.path.name)[0] or ""
        kind = kind if kind.startswith(("video/", "image/")) else "application/octet-stream"
        return FileResponse(media.path, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    def here(self, token: str) -> Response:
        """A page says that it is still there."""
        self.visitors.hear(token)
        return Response(status_code=204)

    def answer(self, token: str, kind: str) -> Response:
        """An answer to be saved: its text in some form, or clips of its segments."""
        exchange, media = self.visitors.find(token)
        if kind == CLIPS:
            return _clips(exchange, media, self.uploads.folder)
        if kind not in TEXTS:
            raise PageError(f"There is no answer as .{kind}: {', '.join([*TEXTS, CLIPS])}.")
        name = f"{Path(media.name).stem}.{kind}"
        return Response(TEXTS[kind](exchange, media), media_type="text/plain; charset=utf-8", headers=_saved_as(name))


def own_routes(uploads: Uploads, visitors: Visitors) -> FastAPI:
    """The application that answers at them."""
    routes, app = Routes(uploads, visitors), FastAPI(openapi_url=None)
    app.add_api_route(f"{PREFIX}/upload", routes.upload, methods=["POST"])
    app.add_api_route(f"{PREFIX}/video/{{token}}", routes.video, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route(f"{PREFIX}/here/{{token}}", routes.here, methods=["POST"], response_model=None)
    app.add_api_route(f"{PREFIX}/answers/{{token}}.{{kind}}", routes.answer, methods=["GET"], response_model=None)
    for kind in (PageError, Exception):
        app.add_exception_handler(kind, _problem)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    return JSONResponse({"problem": in_words(error)}, 400)


def _answer(exchange: Exchange) -> Any:
    return exchange.answer


def _clips(exchange: Exchange, media: Media, place: Path) -> Response:
    """The segments of an answer as videos, in one archive that is deleted when it has been sent."""
    folder = Path(tempfile.mkdtemp(prefix="clips-", dir=place))
    try:
        cut_clips(media.path, _answer(exchange).segments, folder / "clips")
        archive = shutil.make_archive(str(folder / "clips"), CLIPS, folder / "clips")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise PageError(in_words(error, media.path, media.name)) from error
    tasks = BackgroundTasks()
    tasks.add_task(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(archive, headers=_saved_as(f"{Path(media.name).stem}_clips.zip"), background=tasks)


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}


class Guard:
    """Leads to the page's own addresses, closes those that are not needed, and keeps the browser to this host.

    What is sent to gradio's functions is text and numbers. An object that calls itself a file would make gradio look in
    its cache, or fetch it from elsewhere.

    Args:
        app: gradio's.
        own: of `own_routes`.
    """

    def __init__(self, app: App, own: App):
        self.app, self.own = app, own

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        path = scope.get("path", "")
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif path.startswith(f"{PREFIX}/"):
            await self.own(scope, receive, send)
        elif path.startswith(CLOSED):
            refusal: App = JSONResponse({"problem": "There is nothing here."}, 404)
            await refusal(scope, receive, send)
        elif scope.get("method") == "POST":
            body = await _body(receive)
            if body is None or not _is_plain(body):
                refusal = JSONResponse({"problem": "This page takes text and numbers."}, 400)
                await refusal(scope, receive, send)
                return
            await self.app(scope, _again(body, receive), lambda message: send(_with_policy(message)))
        else:
            await self.app(scope, receive, lambda message: send(_with_policy(message)))


async def _body(receive: Receive) -> bytes | None:
    """What is sent; None for more than the page ever sends, or if whoever sends it leaves."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > MOST_SENT:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return messages.pop() if messages else await receive()

    return given


def _is_plain(body: bytes) -> bool:
    """Whether the inputs that a function of gradio's gets are text and numbers."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return False
    inputs = sent.get("data") if isinstance(sent, dict) else ()
    return isinstance(inputs, list | None) and all(
        isinstance(value, str | int | float | None) for value in inputs or ()
    )


def guarded(own: App) -> dict[str, Any]:
    """Arguments of gradio's FastAPI that put a `Guard` before it."""
    return {"middleware": [Middleware(Guard, own=own)]}


def _with_policy(message: Message) -> Message:
    if message["type"] == "http.response.start":
        headers = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
        return {**message, "headers": headers}
    return message
