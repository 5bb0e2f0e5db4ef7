"""The routes of a server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from timechat.app.api import VideoLanguageModel
from timechat.app.server.auth import ApiKeys
from timechat.app.server.completions import Completions
from timechat.app.server.errors import RequestError
from timechat.app.server.service import Service
from timechat.app.server.settings import ServerSettings
from timechat.errors import ConfigError

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse
except ModuleNotFoundError as error:
    raise ConfigError(f"{__name__} needs FastAPI ({error}): pip install 'timechat[serve]'") from error


def create_app(model: VideoLanguageModel, settings: ServerSettings) -> FastAPI:
    """A server of one model, as an ASGI application.

    Args:
        model: answers.
        settings: limits and permissions.

    Raises:
        ConfigError: the model is none that a server can use, or a setting is not possible.
    """
    service, keys = Service(model, settings), ApiKeys(settings.api_keys)
    began = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    # The pages that describe a FastAPI load scripts from other hosts.
    app = FastAPI(title="TimeChat", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    completions: Any = Completions(service, keys)  # an ASGI application, which a route may also lead to
    app.add_route("/v1/chat/completions", completions, methods=["POST"])
    app.state.service = service
    described = {"id": settings.name, "object": "model", "created": began, "owned_by": "timechat"}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        keys.check(request.headers)
        return {"object": "list", "data": [described]}

    @app.get("/v1/models/{name:path}")
    async def model_named(name: str, request: Request) -> dict[str, Any]:
        keys.check(request.headers)
        if name != settings.name:
            message = f"there is no model {name[:100]!r}; this server has {settings.name!r}"
            raise RequestError(404, message, code="model_not_found")
        return described

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        if service.running:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "the model does not work"}, 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        page, kind = service.metrics.page()
        return Response(page, media_type=kind)

    _in_one_form(app)
    return app


def _in_one_form(app: FastAPI) -> None:
    """Errors of every route in the same form."""

    async def refused(request: Request, error: Any) -> Response:
        return _refusal(error)

    async def missing(request: Request, error: Any) -> Response:
        return _refusal(RequestError(404, f"there is no {request.url.path[:200]} here", code="not_found"))

    async def wrong_method(request: Request, error: Any) -> Response:
        allowed: Mapping[str, str] = error.headers or {}
        message = f"{request.method} does not go with {request.url.path[:200]}"
        return _refusal(RequestError(405, message, code="method_not_allowed"), allowed)

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(404, missing)
    app.add_exception_handler(405, wrong_method)


def _refusal(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(error.to_dict(), error.status, {**error.headers(), **(headers or {})})
