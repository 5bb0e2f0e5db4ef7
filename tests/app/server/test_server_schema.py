"""Requests: what a conversation may look like, and which field is named when it may not."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.serving import QUESTION, body, image_part, text_part, user, video_part

from timechat.app.server.errors import RequestError
from timechat.app.server.schema import ChatRequest, MediaLink, Sampling, parse_request
from timechat.app.server.settings import ServerSettings

URL = "file:///media/v.mp4"
VIDEO, TEXT = video_part(URL), text_part(QUESTION)
ASKED = user(VIDEO, TEXT)


def parse(request: Any) -> ChatRequest:
    return parse_request(request, ServerSettings(max_new_tokens=100))


def test_a_plain_question() -> None:
    request = parse(body(URL))
    assert request.media == MediaLink("video", URL, "messages[0].content[0].video_url.url")
    assert (request.question, request.history, request.system, request.task) == (QUESTION, (), None, None)
    assert (request.max_tokens, request.sampling, request.stream, request.include_usage) == (6, None, False, False)


def test_a_conversation() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user(text_part("First,"), image_part("data:x"), text_part("what is it?")),
        {"role": "assistant", "content": [text_part("A pan.")]},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": QUESTION},
    ]
    request = parse(body(URL, messages=messages))
    assert request.media.kind == "image"
    assert request.system == "Be brief."
    assert request.history == (("First,\nwhat is it?", "A pan."), ("And then?", ""))
    assert request.question == QUESTION


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({}, None),
        ({"temperature": 0, "seed": 3, "top_p": 0.5}, None),
        ({"temperature": 0.5}, Sampling(0.5, 1.0, None)),
        ({"temperature": 2, "top_p": 0.1, "seed": -1}, Sampling(2.0, 0.1, -1)),
    ],
)
def test_greedy_unless_a_temperature_is_given(fields: dict[str, Any], sampling: Sampling | None) -> None:
    assert parse(body(URL, **fields)).sampling == sampling


def test_fields_that_ask_for_nothing_are_taken() -> None:
    nothing = {
        "n": 1, "logprobs": False, "tools": None, "stop": [], "response_format": {"type": "text"}, "user": "me",
        "presence_penalty": 0.0, "metadata": {"a": "b"}, "stream_options": None,
    }  # fmt: skip
    assert parse(body(URL, **nothing)) == parse(body(URL))


def test_how_long_it_may_get() -> None:
    assert parse(body(URL, max_tokens=None)).max_tokens is None
    assert parse(body(URL, max_tokens=9, max_completion_tokens=8)).max_tokens == 8


def test_texts_that_end_an_answer() -> None:
    assert parse(body(URL, stop="\n")).stop == ("\n",)
    assert parse(body(URL, stop=["a", "b"])).stop == ("a", "b")


def test_our_own_fields() -> None:
    assert parse(body(URL, timechat={"task": "ground"})).task == "ground"
    assert parse(body(URL, timechat={})).task is None
    assert parse(body(URL, "", timechat={"task": "caption"})).question == ""
    streamed = parse(body(URL, stream=True, stream_options={"include_usage": True}))
    assert (streamed.stream, streamed.include_usage) == (True, True)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"n": 2}, "n", "does not have that"),
        ({"tools": [{"type": "function"}]}, "tools", "does not have that"),
        ({"logprobs": True}, "logprobs", "does not have that"),
        ({"stop": ""}, "stop", "none of them empty"),
        ({"stop": ["a", 1]}, "stop", "give a text"),
        ({"stop": ["a"] * 5}, "stop", "up to 4"),
        ({"stop": {}}, "stop", "give a text"),
        ({"response_format": {"type": "json_object"}}, "response_format", "does not have that"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "does not have that"),
        ({"max_token": 3}, "max_token", "did you mean 'max_tokens'"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to 100"),
        ({"max_completion_tokens": 101}, "max_completion_tokens", "from 1 to 100"),
        ({"max_tokens": True}, "max_tokens", "whole number"),
        ({"max_tokens": "6"}, "max_tokens", "whole number"),
        ({"temperature": 2.5}, "temperature", "from 0 "),
        ({"temperature": float("nan")}, "temperature", "give a number"),
        ({"temperature": "hot"}, "temperature", "give a number"),
        ({"temperature": 10**400}, "temperature", "from 0 "),
        ({"top_p": -(10**400)}, "top_p", "above 0"),
        ({"top_p": 0}, "top_p", "above 0"),
        ({"seed": 1.5}, "seed", "64 bits"),
        ({"seed": 2**63}, "seed", "64 bits"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "no such field"),
        ({"timechat": {"task": "find"}}, "timechat.task", "ground"),
        ({"timechat": {"tasks": "ground"}}, "timechat.tasks", "there is task"),
        ({"timechat": "ground"}, "timechat", "give an object"),
        ({"model": None}, "model", "'timechat'"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": "hello"}, "messages", "at least one"),
    ],
)
def test_what_is_not_possible_is_named(fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse(body(URL, **fields))
    assert (caught.value.status, caught.value.param) == (422, param)
    assert str(caught.value).startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("messages", "param", "message"),
    [
        ([user(TEXT)], "messages", "there is no video"),
        ([user(VIDEO, VIDEO, TEXT)], "messages[0].content[1].video_url.url", "a second video"),
        (
            [ASKED, {"role": "assistant", "content": "a"}, user(image_part("data:x"), TEXT)],
            "messages[2].content[0].image_url.url",
            "a second video or image",
        ),
        (
            [user(TEXT), {"role": "assistant", "content": "a"}, user(VIDEO, TEXT)],
            "messages[2].content[0].video_url.url",
            "into the first user message",
        ),
        ([user(VIDEO)], "messages[0].content", "no question"),
        ([user(VIDEO, text_part(" "))], "messages[0].content", "no question"),
        ([ASKED, {"role": "assistant", "content": "a"}], "messages", "the last message"),
        ([ASKED, ASKED], "messages[1].role", "take turns"),
        ([{"role": "assistant", "content": "a"}, ASKED], "messages[0].role", "take turns"),
        ([{"role": "tool", "content": "a"}], "messages[0].role", "no tools"),
        ([user({"type": "audio_url"})], "messages[0].content[0].type", "video_url or image_url"),
        ([user({"type": ["text"]})], "messages[0].content[0].type", "text, video_url"),
        ([user({"type": {}})], "messages[0].content[0].type", "text, video_url"),
        ([user("what?")], "messages[0].content[0].type", "text, video_url"),  # type: ignore[arg-type]
        ([user({"type": "text"})], "messages[0].content[0].text", "give a text"),
        ([user({"type": "video_url", "video_url": {}})], "messages[0].content[0].video_url.url", "give a URL"),
        ([{"role": "system", "content": [VIDEO]}, ASKED], "messages[0].content[0]", "first user message"),
        ([{"role": "user", "content": 5}], "messages[0].content", "list of parts"),
        (["hello"], "messages[0]", "role and content"),
        ([user(VIDEO, text_part("<ImageHere>"))], "messages[0].content[1]", "<ImageHere>"),
        ([user(VIDEO, text_part("\ud800"))], "messages[0].content[1]", "half of a character"),
        ([user(video_part("file:///\udfff"), TEXT)], "messages[0].content[0].video_url.url", "half of a character"),
        ([user(VIDEO, text_part("a" * 100_001))], "messages", "100000 characters"),
        (
            [ASKED, {"role": "assistant", "tool_calls": [1], "content": None}, ASKED],
            "messages[1].tool_calls",
            "does not have that",
        ),
    ],
)
def test_conversations_that_are_none(messages: list[Any], param: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse(body(URL, messages=messages))
    assert (caught.value.status, caught.value.param) == (422, param)


def test_another_model_is_not_here() -> None:
    with pytest.raises(RequestError, match="'gpt-4o'; this server has 'timechat'") as caught:
        parse(body(URL, model="gpt-4o"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    with pytest.raises(RequestError, match="JSON object"):
        parse([1])
