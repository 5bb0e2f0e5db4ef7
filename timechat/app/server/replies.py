"""OpenAI's answers as JSON and as server-sent events, sent over ASGI."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from timechat.app.answer import Segment
from timechat.app.server.batching import Job
from timechat.app.server.errors import RequestError

Send = Callable[[dict[str, Any]], Awaitable[None]]
_UNFINISHED = "\ufffd"  # what a character looks like of which not all tokens are there


class Reply:
    """One answer over HTTP, whole or in events.

    Args:
        send: of ASGI.
        request_id: stands in the headers, and in the log.

    Attributes:
        request_id: as given.
        status: what was sent; None as long as nothing was.
        complete: whether the last byte was handed over.
    """

    def __init__(self, send: Send, request_id: str):
        self._send, self.request_id = send, request_id
        self.status: int | None = None
        self.complete = False
        self._in_events = False

    async def whole(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        body = _json(content)
        length = {"content-length": str(len(body))}
        await self._start(status, {"content-type": "application/json", **length, **(headers or {})})
        await self._body(body, more=False)

    async def event(self, content: dict[str, Any]) -> None:
        """Send an event; the first one begins the answer."""
        if self.status is None:
            self._in_events = True
            # nginx would else wait for the whole answer.
            quick = {"cache-control": "no-cache", "x-accel-buffering": "no"}
            await self._start(200, {"content-type": "text/event-stream; charset=utf-8", **quick})
        await self._body(b"data: " + _json(content) + b"\n\n", more=True)

    async def end(self) -> None:
        """Send the last event."""
        await self._body(b"data: [DONE]\n\n", more=False)

    async def refuse(self, error: RequestError) -> None:
        """Send an error: with its status, or as the last event of an answer that has begun."""
        if self.status is None:
            await self.whole(error.status, error.to_dict(), error.headers())
        elif self._in_events and not self.complete:
            await self._body(b"data: " + _json(error.to_dict()) + b"\n\n", more=False)

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        named = {"x-request-id": self.request_id, **headers}
        pairs = [(name.encode(), value.encode()) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _body(self, body: bytes, more: bool) -> None:
        self.complete = not more
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class Completion:
    """The objects of an answer in OpenAI's form.

    Args:
        model: its name.
        prompt_tokens: how many tokens were asked.
    """

    def __init__(self, model: str, prompt_tokens: int):
        self._common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._prompt_tokens = prompt_tokens

    def whole(self, job: Job, segments: Sequence[Segment]) -> dict[str, Any]:
        """A finished answer."""
        message = {"role": "assistant", "content": job.partial.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(job)}
        ours = _ours(job, segments)
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": self.usage(job), **ours}

    def piece(self, text: str, *, first: bool = False) -> dict[str, Any]:
        """Some words."""
        return self._chunk({"role": "assistant", "content": text} if first else {"content": text}, None)

    def last(self, job: Job, segments: Sequence[Segment]) -> dict[str, Any]:
        """After the words: why they end, and the parts of the video that they name."""
        return {**self._chunk({}, finish_reason(job)), **_ours(job, segments)}

    def counts(self, job: Job) -> dict[str, Any]:
        """The last event of a stream, if it was asked for."""
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": self.usage(job)}

    def usage(self, job: Job) -> dict[str, int]:
        """Tokens of question and answer, `</s>` included."""
        prompt, answer = self._prompt_tokens, job.partial.num_tokens
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


class Words:
    """The words of an answer that were not given yet, in whole characters.

    Args:
        stop: texts that end an answer; what may be the beginning of one is kept back until more is known.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._given, self._stop = "", stop

    def new(self, job: Job) -> str:
        """What is new; may be empty."""
        done, partial = job.done, job.partial  # in this order: the model's thread ends an answer with its last words
        whole = partial.text if done else _without_beginning(partial.text.rstrip(_UNFINISHED), self._stop)
        piece = whole[len(self._given) :]
        self._given += piece
        return piece


def _without_beginning(text: str, stops: Sequence[str]) -> str:
    """A text up to where one of `stops` may begin that is not all there yet."""
    kept = [size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])]
    return text[: len(text) - max(kept, default=0)]


def finish_reason(job: Job) -> str:
    """Whether the model or a `stop` ended the answer, or the limit did."""
    return "stop" if job.partial.ended else "length"


def _ours(job: Job, segments: Sequence[Segment]) -> dict[str, Any]:
    """What OpenAI's form has no place for."""
    seconds = list(job.question.video.seconds or [])
    return {
        "timechat": {
            "segments": [segment.to_dict() for segment in segments],
            "seconds": seconds,
            "prompt": job.question.prompt,
        }
    }


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
