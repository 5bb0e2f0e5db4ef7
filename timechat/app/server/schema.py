"""From the JSON of a request to a question about a video; what is not possible is a typed error that names its field.

Every field of OpenAI's chat completions is heeded, or refused where its value would change the answer, or without
meaning for the answer (`user`, `metadata`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from timechat.app.answer import TASKS
from timechat.app.server.errors import RequestError, invalid
from timechat.app.server.settings import ServerSettings
from timechat.registry import nearest
from timechat.text.conversation import Turn
from timechat.text.tokenizers import IMAGE_TOKEN

# Reading many more characters as tokens would hold up the other requests, and no model takes them.
MAX_CHARACTERS = 100_000
MAX_STOPS = 4  # as of OpenAI

_SYSTEM_ROLES = ("system", "developer")
_MEDIA = {"video_url": "video", "image_url": "image"}
# Fields that ask for what there is not; the values with which they ask for nothing.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("none",),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_WITHOUT_MEANING = (
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "user",
)  # fmt: skip
_HEEDED = (
    "max_completion_tokens", "max_tokens", "messages", "model", "seed", "stop", "stream", "stream_options",
    "temperature", "timechat", "top_p",
)  # fmt: skip


@dataclass(frozen=True)
class MediaLink:
    """Where the video or image of a conversation is.

    Attributes:
        kind: what it is asked to be read as.
        url: file:, data:, http: or https:.
        param: the field that says so, for errors.
    """

    kind: Literal["video", "image"]
    url: str
    param: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; `seed` None for other ones each time."""

    temperature: float
    top_p: float
    seed: int | None


@dataclass(frozen=True)
class ChatRequest:
    """A question about a video.

    Attributes:
        media: the video.
        question: with a task, what is looked for.
        task: one of `timechat.app.answer.TASKS`, or None.
        history: earlier questions about the video, and their answers.
        system: the system sentence, or None for the model's.
        max_tokens: longest answer; None for as much as there is room for.
        sampling: None is greedy.
        stop: texts before the first of which the answer ends.
        stream: whether the answer is sent while it is written.
        include_usage: whether a stream ends with the counts of tokens.
    """

    media: MediaLink
    question: str
    task: str | None
    history: tuple[Turn, ...]
    system: str | None
    max_tokens: int | None
    sampling: Sampling | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool


def parse_request(body: Any, settings: ServerSettings) -> ChatRequest:
    """Read the JSON value that a request has sent.

    Raises:
        RequestError: 404 for another model than this server's, else 422.
    """
    if not isinstance(body, dict):
        raise invalid("body", "give a JSON object with model and messages")
    fields = {name: value for name, value in body.items() if value is not None}
    _refuse_fields(fields)
    _check_model(fields, settings)
    task = _task(fields.get("timechat", {}))
    conversation = _conversation(fields.get("messages"), needs_question=task != "caption")
    stream = _flag(fields, "stream", "stream")
    return ChatRequest(
        **conversation,
        task=task,
        max_tokens=_max_tokens(fields, settings),
        sampling=_sampling(fields),
        stop=_stop(fields),
        stream=stream,
        include_usage=_include_usage(fields, stream),
    )


# Fields ---------------------------------------------------------------------------------------------------------------


def _refuse_fields(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name in _REFUSED:
            if value not in _REFUSED[name]:
                raise invalid(name, "this server does not have that; leave it out", "unsupported_parameter")
        elif name not in _HEEDED and name not in _WITHOUT_MEANING:
            known = [*_HEEDED, *_REFUSED, *_WITHOUT_MEANING]
            raise invalid(name[:100], f"there is no such field{nearest(name, known)}", "unknown_parameter")


def _check_model(fields: dict[str, Any], settings: ServerSettings) -> None:
    name = fields.get("model")
    if not isinstance(name, str):
        raise invalid("model", f"give the model's name, {settings.name!r}")
    if name != settings.name:
        message = f"there is no model {name[:100]!r}; this server has {settings.name!r}"
        raise RequestError(404, message, param="model", code="model_not_found")


def _task(ours: Any) -> str | None:
    """The task under `timechat`."""
    if not isinstance(ours, dict):
        raise invalid("timechat", 'give an object, such as {"task": "ground"}')
    for name in ours:
        if name != "task":
            raise invalid(f"timechat.{name}"[:100], "there is no such field; there is task", "unknown_parameter")
    task = ours.get("task")
    if task is not None and task not in TASKS:
        raise invalid("timechat.task", f"{str(task)[:100]!r} is none of {', '.join(TASKS)}")
    return task


def _max_tokens(fields: dict[str, Any], settings: ServerSettings) -> int | None:
    """The newer name goes first."""
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            value, most = fields[name], settings.max_new_tokens
            if not _is_whole(value) or not 1 <= value <= most:
                raise invalid(name, f"give a whole number from 1 to {most}, the longest answer of this server")
            return int(value)
    return None


def _sampling(fields: dict[str, Any]) -> Sampling | None:
    """Greedy unless a temperature says otherwise."""
    temperature = _number(fields, "temperature", 0.0, lambda value: 0 <= value <= 2, "from 0 (greedy) to 2")
    top_p = _number(fields, "top_p", 1.0, lambda value: 0 < value <= 1, "above 0, up to 1")
    seed = fields.get("seed")
    if seed is not None and not (_is_whole(seed) and -(2**63) <= seed < 2**63):
        raise invalid("seed", "give a whole number of 64 bits, such as 42")
    return Sampling(temperature, top_p, seed) if temperature > 0 else None


def _stop(fields: dict[str, Any]) -> tuple[str, ...]:
    given = fields.get("stop", [])
    stops = [given] if isinstance(given, str) else given
    if (
        not isinstance(stops, list)
        or len(stops) > MAX_STOPS
        or not all(isinstance(stop, str) and stop for stop in stops)
    ):
        raise invalid("stop", f"give a text, or a list of up to {MAX_STOPS}, none of them empty")
    return tuple(stops)


def _include_usage(fields: dict[str, Any], stream: bool) -> bool:
    options = fields.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise invalid("stream_options", "goes with stream: true alone")
    if not isinstance(options, dict):
        raise invalid("stream_options", 'give an object, such as {"include_usage": true}')
    for name in options:
        if name not in ("include_usage", "include_obfuscation"):
            raise invalid(f"stream_options.{name}"[:100], "there is no such field", "unknown_parameter")
    return _flag(options, "include_usage", "stream_options.include_usage")


def _flag(fields: dict[str, Any], name: str, param: str) -> bool:
    value = fields.get(name) or False
    if not isinstance(value, bool):
        raise invalid(param, "give true or false")
    return value


def _number(fields: dict[str, Any], name: str, default: float, possible: Callable[[float], bool], words: str) -> float:
    value = fields.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not possible(value):  # NaN is never possible
        raise invalid(name, f"give a number {words}")
    return float(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Messages -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Message:
    """One message: its place in the request, who says it, its text, and the videos in it."""

    param: str
    role: str
    text: str
    media: list[MediaLink]


def _conversation(messages: Any, needs_question: bool) -> dict[str, Any]:
    """System sentence, video, earlier turns and question. Raises RequestError."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "give a list with at least one message of the user, with a video and a question")
    said = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    if sum(len(message.text) for message in said) > MAX_CHARACTERS:
        raise invalid("messages", f"more than {MAX_CHARACTERS} characters of text", "context_length_exceeded")
    system = said.pop(0).text if said[0].role == "system" else None
    for i, message in enumerate(said):
        if message.role != ("user", "assistant")[i % 2]:
            raise invalid(f"{message.param}.role", "after a system message, user and assistant take turns")
    if len(said) % 2 == 0:
        raise invalid("messages", "the last message must be the user's question")
    for message in said[::2]:
        if not message.text.strip() and (needs_question or message is not said[-1]):
            raise invalid(f"{message.param}.content", "there is no question in it; give a part of type text")
    texts = [message.text for message in said]
    return {
        "media": _only_media(said),
        "question": texts[-1],
        "history": tuple(zip(texts[:-1:2], texts[1::2], strict=True)),
        "system": system,
    }


def _only_media(said: Sequence[_Message]) -> MediaLink:
    """The one video, which the model reads in the first question. Raises RequestError."""
    found = [link for message in said for link in message.media]
    if not found:
        raise invalid(
            "messages", "there is no video; give the first user message a part of type video_url or image_url"
        )
    if len(found) > 1:
        raise invalid(found[1].param, f"a second video or image; a conversation is about one, here {found[0].param}")
    if not said[0].media:
        raise invalid(found[0].param, "the video goes into the first user message, where the model reads it")
    return found[0]


def _message(message: Any, param: str) -> _Message:
    if not isinstance(message, dict):
        raise invalid(param, "give an object with role and content")
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", *_SYSTEM_ROLES):
        raise invalid(f"{param}.role", "give system, user or assistant; there are no tools")
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            raise invalid(f"{param}.{name}", "this server does not have that; leave it out", "unsupported_parameter")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise invalid(f"{param}.content", "give a text, or a list of parts")
    where = f"{param}.content" if isinstance(content, str) else ""
    read = [_part(part, where or f"{param}.content[{i}]", role) for i, part in enumerate(parts)]
    texts = [part for part in read if isinstance(part, str)]
    media = [part for part in read if isinstance(part, MediaLink)]
    return _Message(param, "system" if role in _SYSTEM_ROLES else role, "\n".join(texts), media)


def _part(part: Any, param: str, role: str) -> str | MediaLink:
    """A text or a video. Raises RequestError."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise invalid(f"{param}.text", "give a text")
        _must_be_whole(text, param)
        if IMAGE_TOKEN in text:
            raise invalid(param, f"contains {IMAGE_TOKEN}, which stands for the video's own tokens; remove it")
        return text
    if not isinstance(kind, str) or kind not in _MEDIA:
        raise invalid(f"{param}.type", "give text, video_url or image_url")
    if role != "user":
        raise invalid(param, "a video goes into the first user message")
    link = part.get(kind)
    url = link.get("url") if isinstance(link, dict) else link
    if not isinstance(url, str):
        raise invalid(f"{param}.{kind}.url", "give a URL: file:, data:, http: or https:")
    _must_be_whole(url, f"{param}.{kind}.url")
    return MediaLink("video" if kind == "video_url" else "image", url, f"{param}.{kind}.url")


def _must_be_whole(text: str, param: str) -> None:
    """Raise RequestError for what JSON can hold and no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(param, "contains half of a character (a lone surrogate)") from error
