"""`POST /v1/chat/completions`: one request from its first byte to the last of its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from timechat.app.api import EncodedVideo
from timechat.app.server.auth import ApiKeys
from timechat.app.server.batching import Job
from timechat.app.server.errors import RequestError, internal, too_large
from timechat.app.server.replies import Completion, Reply, Send, Words
from timechat.app.server.schema import ChatRequest, parse_request
from timechat.app.server.service import Service
from timechat.app.server.settings import MEGABYTE

logger = logging.getLogger(__name__)
Receive = Callable[[], Awaitable[dict[str, Any]]]

# How long a client that reads nothing may hold up the words that its time is over.
_LAST_WORDS_S = 2.0


class Completions:
    """The route, as an ASGI application: it hears when a client leaves, whatever is being done for it.

    Args:
        service: answers.
        keys: who may ask.
    """

    def __init__(self, service: Service, keys: ApiKeys):
        self._service, self._keys = service, keys

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(self._service, Reply(send, f"req-{uuid.uuid4().hex}"))
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._keys.check(headers)
            with self._service.place():
                await exchange.run(headers, receive)
        except RequestError as error:
            await exchange.refuse(error)
        finally:
            exchange.count()


class _Exchange:
    """One request and its answer."""

    def __init__(self, service: Service, reply: Reply):
        self._service, self._reply = service, reply
        self._began, self._spoke, self._left = time.monotonic(), False, False

    async def run(self, headers: dict[str, str], receive: Receive) -> None:
        """Read, answer, and stop as soon as the client leaves or its time is over.

        Raises:
            RequestError: what the client is to be told.
        """
        timeout = self._service.settings.timeout_s
        try:
            await asyncio.wait_for(self._run(headers, receive), timeout)
        except asyncio.TimeoutError:
            raise RequestError(
                504, f"not answered within {timeout:g} seconds, the limit of this server", code="timeout"
            ) from None

    async def refuse(self, error: RequestError) -> None:
        """Send an error, to a client that may have stopped to read."""
        with suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(self._reply.refuse(error), _LAST_WORDS_S)

    def count(self) -> None:
        """Note how it ended."""
        status = "cancelled" if self._left or self._reply.status is None else str(self._reply.status)
        self._service.metrics.requests.labels(status).inc()

    async def _run(self, headers: dict[str, str], receive: Receive) -> None:
        body = await self._body(headers, receive)
        if body is None:
            self._left = True
            return
        work, left = asyncio.ensure_future(self._answer(body)), asyncio.ensure_future(_leaves(receive))
        del body  # a video in it is not needed as long as an answer is written
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            # A server also speaks of a disconnect when the answer has been sent.
            self._left = not (work.done() or self._reply.complete)
            if not self._left:
                await work
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes | None:
        """The request as it comes; None if the client leaves before its end. Raises RequestError."""
        # A web page of another origin may send any other type without asking first whether it may.
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError(415, "send JSON, with the header content-type: application/json", code="not_json")
        limit = self._service.settings.max_body_mb * MEGABYTE
        promised = headers.get("content-length", "0")
        size, body, more = int(promised) if promised.isdecimal() else 0, bytearray(), True
        while more:
            if max(size, len(body)) > limit:
                raise too_large(f"the request is longer than {self._service.settings.max_body_mb} MB")
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)

    async def _answer(self, body: bytes) -> None:
        """Send the answer. Raises RequestError."""
        try:
            request = parse_request(await asyncio.to_thread(_parsed, body), self._service.settings)
            del body
            video = await self._service.see(request.media)
            request = replace(request, media=replace(request.media, url=""))  # which may have held all of it
            await self._ask(request, video)
        except RequestError:
            raise
        except torch.OutOfMemoryError as error:
            logger.error("%s: out of memory: %s", self._reply.request_id, error)
            raise RequestError(
                503, "the model ran out of memory; come again", code="out_of_memory", retry_after=5
            ) from error
        except Exception as error:
            logger.exception("%s failed", self._reply.request_id)
            raise internal(self._reply.request_id) from error

    async def _ask(self, request: ChatRequest, video: EncodedVideo) -> None:
        """Put the question, and send what the model writes."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()
        job, count = self._service.ask(request, video, lambda: loop.call_soon_threadsafe(changed.set))
        completion = Completion(self._service.settings.name, count)
        try:
            if request.stream:
                await self._reply.event(completion.piece("", first=True))
            words = Words(request.stop)
            while not job.done:
                await changed.wait()
                changed.clear()
                self._note_first_words(job)
                if request.stream and (piece := words.new(job)):
                    await self._reply.event(completion.piece(piece))
            if job.error is not None:
                raise job.error
            await self._end(request, job, completion, words)
        finally:
            job.cancel()
        metrics = self._service.metrics
        metrics.prompt_tokens.inc(count)
        metrics.answer_tokens.inc(job.partial.num_tokens)
        metrics.seconds.observe(time.monotonic() - self._began)

    async def _end(self, request: ChatRequest, job: Job, completion: Completion, words: Words) -> None:
        """Send what stands at the end, or all at once."""
        segments = self._service.segments(request, job.partial.text)
        if not request.stream:
            await self._reply.whole(200, completion.whole(job, segments))
            return
        if piece := words.new(job):
            await self._reply.event(completion.piece(piece))
        await self._reply.event(completion.last(job, segments))
        if request.include_usage:
            await self._reply.event(completion.counts(job))
        await self._reply.end()

    def _note_first_words(self, job: Job) -> None:
        if not self._spoke and job.partial.text:
            self._spoke = True
            self._service.metrics.first_words.observe(time.monotonic() - self._began)


async def _leaves(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _parsed(body: bytes) -> Any:
    """The JSON of a request. Raises RequestError."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the request is not JSON ({error})", code="not_json") from error
