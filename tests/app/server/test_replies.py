"""What is sent: whole characters, JSON of any text, and errors in the right place."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import torch

from timechat.app.api import EncodedVideo
from timechat.app.server.batching import Job, Question
from timechat.app.server.errors import RequestError
from timechat.app.server.replies import Reply, Words, finish_reason
from timechat.models.watching import PartialAnswer

LATE = RequestError(504, "too late", code="timeout")


def job(max_tokens: int, stop: tuple[str, ...] = ()) -> Job:
    return Job(Question(EncodedVideo(torch.zeros(1, 1), None), "q", (), None, max_tokens, None, stop))


class Sent:
    """What an application sends."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def test_half_a_character_waits_for_its_other_half() -> None:
    written, words, pieces = job(5), Words(), list[str]()
    for count, text in enumerate(("caf", "caf\ufffd", "caf\ufffd\ufffd", "café"), start=1):
        written.tell(PartialAnswer(text, count, False))
        pieces.append(words.new(written))
    assert pieces == ["caf", "", "", "é"]


def test_an_answer_that_is_cut_inside_a_character_says_so() -> None:
    written, words = job(2), Words()
    written.tell(PartialAnswer("a\ufffd", 1, False))
    assert words.new(written) == "a"
    written.tell(PartialAnswer("a\ufffd\ufffd", 2, False))
    assert words.new(written) == "\ufffd\ufffd"


def test_nothing_of_a_stop_is_shown() -> None:
    """`NE` is kept back, too, because it may become the other one."""
    stop = ("END", "NEVER")
    written, words, pieces = job(9, stop), Words(stop), list[str]()
    for count, text in enumerate(("a", "a E", "a EN", "a ENE", "a ENEND or NEVER"), start=1):
        written.tell(PartialAnswer(text, count, False))
        pieces.append(words.new(written))
    assert pieces == ["a", " ", "", "E", "N"]
    assert (written.partial.text, written.done, finish_reason(written)) == ("a EN", True, "stop")


def test_the_first_stop_in_the_text_ends_it() -> None:
    written = job(9, ("b", "a"))
    written.tell(PartialAnswer("x a b", 1, False))
    assert written.partial.text == "x "


def test_what_only_began_like_a_stop_comes_at_the_end() -> None:
    written, words = job(2, ("END",)), Words(("END",))
    written.tell(PartialAnswer("a E", 1, False))
    assert words.new(written) == "a "
    written.tell(PartialAnswer("a EN", 2, False))
    assert words.new(written) == "EN"


def test_what_comes_after_the_end_changes_nothing() -> None:
    written = job(2)
    written.tell(PartialAnswer("a", 1, True))
    written.tell(PartialAnswer("a b", 2, False))
    assert (written.partial.text, written.done) == ("a", True)


def test_an_error_has_its_status_as_long_as_nothing_was_sent() -> None:
    sent = Sent()
    reply = Reply(sent, "req-1")
    asyncio.run(reply.refuse(LATE))
    assert sent.messages[0]["status"] == reply.status == 504
    assert (b"x-request-id", b"req-1") in sent.messages[0]["headers"]
    assert json.loads(sent.body) == LATE.to_dict()
    assert LATE.to_dict()["error"]["type"] == "timeout_error"


def test_an_error_is_the_last_event_of_a_stream_and_nothing_follows_a_whole_answer() -> None:
    async def run(begin: str) -> Sent:
        sent = Sent()
        reply = Reply(sent, "req-1")
        await (reply.event({"a": "ü"}) if begin == "event" else reply.whole(200, {"a": "\ud800"}))
        await reply.refuse(LATE)
        assert reply.complete
        return sent

    stream = asyncio.run(run("event"))
    first, last, rest = stream.body.decode().split("\n\n")
    assert (first, rest) == ('data: {"a":"ü"}', "")
    assert json.loads(last.removeprefix("data: ")) == LATE.to_dict()
    assert stream.messages[-1]["more_body"] is False
    assert json.loads(asyncio.run(run("whole")).body) == {"a": "?"}
