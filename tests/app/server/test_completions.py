"""Answers of a server on a real socket, asked by OpenAI's own client."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from helpers.serving import (
    QUESTION,
    Held,
    Running,
    body,
    data_url,
    image_part,
    serving,
    text_part,
    user,
    video_part,
    wait_for,
)
from helpers.videos import write_video
from PIL import Image

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import ServerSettings

JSON = {"content-type": "application/json"}
CAPTIONS = "3.0 - 5.0 seconds, cut the bread. 7.0 - 9.0 seconds, fry it."


@pytest.fixture
def held(model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """The model writes when the test says so, and freely at its end."""
    held = Held(model, monkeypatch)
    yield held
    held.let_go()


@pytest.fixture
def served(model: VideoLanguageModel, media: Path, held: Held) -> Iterator[Callable[..., Running]]:
    """Starts servers with other settings, whose model is held up."""
    started: list[Any] = []

    def start(**settings: Any) -> Running:
        context = serving(model, ServerSettings(media_dirs=(media,), **settings))
        started.append(context)
        return context.__enter__()

    yield start
    held.let_go()
    for context in started:
        context.__exit__(None, None, None)


def says(model: VideoLanguageModel, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model write this text, whatever it is asked."""
    pieces = model.model.tokenizer.sp.encode(text)
    monkeypatch.setattr(model.model.tokenizer, "decode", lambda ids: text if len(ids) >= 3 else text[: len(ids)])
    assert pieces


# Answers --------------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_models(running: Running, model: VideoLanguageModel, video: Path) -> None:
    answer = running.client().chat.completions.create(**body(video.as_uri()))
    expected = model.ask(video, QUESTION, max_new_tokens=6)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert (answer.object, answer.model) == ("chat.completion", "timechat")
    ids = model.model.prompt_ids(18, expected.seconds, QUESTION)
    assert answer.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}) == {
        "prompt_tokens": len(ids),
        "completion_tokens": 6,
        "total_tokens": len(ids) + 6,
    }
    assert answer.timechat == {"segments": [], "seconds": expected.seconds, "prompt": QUESTION}


def test_an_answer_without_a_limit_ends_where_the_server_says(model: VideoLanguageModel, video: Path) -> None:
    with serving(model, ServerSettings(max_new_tokens=7)) as running:
        answer = running.client().chat.completions.create(**body(data_url(video), max_tokens=openai.omit))
    assert answer.usage.completion_tokens == 7


def test_a_stream_is_the_same_answer(running: Running, model: VideoLanguageModel, video: Path) -> None:
    request = body(video.as_uri(), max_tokens=12, stream=True, stream_options={"include_usage": True})
    chunks = list(running.client().chat.completions.create(**request))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    expected = model.ask(video, QUESTION, max_new_tokens=12)
    assert "".join(pieces) == expected.text
    assert pieces  # how many depends on how fast they are sent
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "length"]
    assert chunks[-2].timechat["seconds"] == expected.seconds
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 12)
    assert len({chunk.id for chunk in chunks}) == 1
    request.pop("stream_options")
    assert all(chunk.usage is None for chunk in running.client().chat.completions.create(**request))


def test_a_stream_is_sent_while_it_is_written(served: Callable[..., Running], held: Held, video: Path) -> None:
    running = served()
    with running.client().chat.completions.create(**body(video.as_uri(), stream=True)) as stream:
        assert next(stream).choices[0].delta.content == ""
        held.give(3)
        assert next(stream).choices[0].delta.content
        held.let_go()
        assert list(stream)[-1].choices[0].finish_reason == "length"


def test_an_answer_ends_before_a_stop(
    running: Running, model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.model.tokenizer, "decode", lambda ids: "Cut the bread, fry the egg"[: 3 * len(ids)])
    create = running.client().chat.completions.create
    answer = create(**body(video.as_uri(), max_tokens=20, stop=["fry", ", f"]))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Cut the bread", "stop")
    assert answer.usage.completion_tokens == 6
    chunks = list(create(**body(video.as_uri(), max_tokens=20, stop=", f", stream=True)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Cut the bread"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_end_that_the_model_sets(
    running: Running, model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[list[int]] = []
    decode = model.model.tokenizer.decode
    with monkeypatch.context() as patch:
        patch.setattr(model.model.tokenizer, "decode", lambda row: (ids.append(list(row)), decode(row))[1])
        model.ask(video, QUESTION, max_new_tokens=3)
    monkeypatch.setattr(model.model.tokenizer, "eos_id", ids[-1][1])
    answer = running.client().chat.completions.create(**body(video.as_uri()))
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 2


def test_segments_stand_beside_the_text(
    running: Running, model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(model, CAPTIONS, monkeypatch)
    segments = [
        {"start": 3.0, "end": 5.0, "text": "cut the bread.", "score": None},
        {"start": 7.0, "end": 9.0, "text": "fry it.", "score": None},
    ]
    create = running.client().chat.completions.create
    answer = create(**body(video.as_uri()))
    assert answer.choices[0].message.content == CAPTIONS
    assert answer.timechat["segments"] == segments
    assert list(create(**body(video.as_uri(), stream=True)))[-1].timechat["segments"] == segments
    says(model, "The given query happens in 3.0 - 5.0 seconds.", monkeypatch)
    found = create(**body(video.as_uri(), "a chef"), extra_body={"timechat": {"task": "ground"}})
    assert found.timechat["segments"] == [{"start": 3.0, "end": 5.0, "text": "a chef", "score": None}]
    assert found.timechat["prompt"] == model.prompt("a chef", "ground")


def test_a_conversation(running: Running, model: VideoLanguageModel, video: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user(video_part(video.as_uri()), text_part(QUESTION)),
        {"role": "assistant", "content": "At 3.0 seconds."},
        {"role": "user", "content": "And then?"},
    ]
    answer = running.client().chat.completions.create(**body("", messages=messages))
    asked = {"system": "Be brief.", "history": [(QUESTION, "At 3.0 seconds.")], "max_new_tokens": 6}
    assert answer.choices[0].message.content == model.ask(video, "And then?", **asked).text
    assert answer.choices[0].message.content != model.ask(video, "And then?", max_new_tokens=6).text


def test_an_image(running: Running, model: VideoLanguageModel, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "i.png")
    messages = [user(image_part(data_url(tmp_path / "i.png", "image/png")), text_part("What is it?"))]
    answer = running.client().chat.completions.create(**body("", messages=messages))
    assert answer.choices[0].message.content == model.ask(tmp_path / "i.png", "What is it?", max_new_tokens=6).text
    assert answer.timechat["seconds"] == []


def test_a_seed_draws_the_same_answer(running: Running, video: Path) -> None:
    def draw(**fields: Any) -> str:
        answer = running.client().chat.completions.create(**body(video.as_uri(), **{"temperature": 2, **fields}))
        return answer.choices[0].message.content

    assert draw(seed=5) == draw(seed=5)
    assert draw(temperature=1e-300) == draw(temperature=0)
    assert len({draw(seed=5), draw(seed=6), draw(), draw()}) == 4


# Many at once ---------------------------------------------------------------------------------------------------------


def test_requests_are_answered_together_as_they_are_alone(
    served: Callable[..., Running], held: Held, model: VideoLanguageModel, video: Path
) -> None:
    running = served(window_ms=600_000, max_batch=4)
    questions = [f"What happens {word}?" for word in ("first", "then", "later", "at the end")]

    def ask(i: int) -> str:
        request = body(data_url(video), questions[i], max_tokens=3 + i, stream=i % 2 == 1)
        answer = running.client().chat.completions.create(**request)
        if i % 2 == 0:
            return answer.choices[0].message.content
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)

    held.let_go()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))
    assert held.sizes == [4]
    alone = [model.ask(video, question, max_new_tokens=3 + i).text for i, question in enumerate(questions)]
    assert answers == alone
    assert running.figure("timechat_video_cache_misses_total") == 1
    assert running.figure("timechat_video_cache_hits_total") == 3
    assert running.figure('timechat_batch_size_bucket{le="2.0"}') == 0
    assert running.figure("timechat_answer_tokens_total") == 3 + 4 + 5 + 6
    assert running.figure('timechat_requests_total{status="200"}') == 4


def test_a_full_server_says_when_to_come_again(served: Callable[..., Running], held: Held, video: Path) -> None:
    running = served(max_queue=1)
    with running.client().chat.completions.create(**body(video.as_uri(), stream=True)) as stream:
        next(stream)
        with pytest.raises(openai.RateLimitError, match="come again") as caught:
            running.client().chat.completions.create(**body(video.as_uri()))
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.code == "queue_full"
        held.let_go()
        list(stream)
    assert running.post(body(video.as_uri())).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(
    served: Callable[..., Running], held: Held, video: Path, stream: bool
) -> None:
    running = served(max_queue=1)
    content = json.dumps(body(video.as_uri(), max_tokens=400, stream=stream)).encode()
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: x", "content-type: application/json")
    head = "\r\n".join((*lines, f"content-length: {len(content)}", "", ""))
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as client:
        client.sendall(head.encode() + content)
        wait_for(lambda: held.sizes)
    wait_for(lambda: running.figure("timechat_requests_in_server") == 0)
    held.let_go()
    assert running.post(body(video.as_uri())).status_code == 200
    assert held.finished[0] < 400
    assert running.figure('timechat_requests_total{status="cancelled"}') == 1


def test_the_stop_finishes_what_runs(served: Callable[..., Running], held: Held, video: Path) -> None:
    running = served()
    with running.client().chat.completions.create(**body(video.as_uri(), stream=True)) as stream:
        next(stream)
        running.server.should_exit = True
        wait_for(lambda: not _accepts(running.url))
        held.let_go()
        assert list(stream)[-1].choices[0].finish_reason == "length"
    running.thread.join(60)
    assert not running.thread.is_alive()
    assert not running.service.running


def _accepts(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", trust_env=False)
    except httpx.TransportError:
        return False
    return True


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"n": 2}, openai.UnprocessableEntityError, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.UnprocessableEntityError, "tools"),
        ({"logprobs": True}, openai.UnprocessableEntityError, "logprobs"),
        ({"model": "gpt-4o"}, openai.NotFoundError, "model"),
        ({"messages": [user(text_part("hello"))]}, openai.UnprocessableEntityError, "messages"),
    ],
)
def test_what_is_not_possible_is_named(
    running: Running, video: Path, fields: dict[str, Any], error: type[openai.APIStatusError], param: str
) -> None:
    with pytest.raises(error) as caught:
        running.client().chat.completions.create(**body(video.as_uri(), **fields))
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_files_that_cannot_be_asked_about(running: Running, media: Path, tmp_path: Path) -> None:
    (media / "damaged.mp4").write_bytes((media / "v.mp4").read_bytes()[:900])
    (tmp_path / "v.mp4").write_bytes((media / "v.mp4").read_bytes())
    for url in ((media / "damaged.mp4").as_uri(), (tmp_path / "v.mp4").as_uri(), (media / "gone.mp4").as_uri()):
        answer = running.post(body(url))
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "messages[0].content[0].video_url.url")
        assert "timechat-serve" not in answer.text


def test_limits_on_what_is_sent(model: VideoLanguageModel, media: Path, tmp_path: Path) -> None:
    settings = ServerSettings(media_dirs=(media,), max_body_mb=1, max_seconds=2.5, max_pixels=64 * 48)
    write_video(tmp_path / "long.mp4", frames=40)
    write_video(tmp_path / "wide.mp4", size=(128, 48))
    Image.new("RGB", (65, 48)).save(tmp_path / "i.png")
    with serving(model, settings) as running:
        assert running.post(body((media / "v.mp4").as_uri())).status_code == 200
        long, wide = (running.post(body(data_url(tmp_path / name))) for name in ("long.mp4", "wide.mp4"))
        image = running.post(body("", messages=[user(image_part(data_url(tmp_path / "i.png")), text_part("?"))]))
        for answer, status, message in (
            (long, 422, "4 seconds long; this server takes 2.5"),
            (wide, 422, "128 x 48 pixels"),
            (image, 422, "65 x 48 pixels"),
            (running.post(body("x" * (1 << 20))), 413, "longer than 1 MB"),
            (
                running.post(None, content=_pieces(), headers={"content-type": "application/json"}),
                413,
                "longer than 1 MB",
            ),
        ):
            assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True), answer.text


def _pieces() -> Iterator[bytes]:
    """A request that does not say how long it is."""
    for _ in range(20):
        yield b" " * 100_000


def test_a_conversation_longer_than_the_model_reads(running: Running, video: Path) -> None:
    answer = running.post(body(video.as_uri(), "word " * 3000))
    assert answer.status_code == 422
    assert "more than the 2048 that this model reads" in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_time_is_limited(served: Callable[..., Running], held: Held, video: Path) -> None:
    running = served(timeout_s=0.7)
    held.give(1)
    began = time.monotonic()
    with pytest.raises(openai.APIError, match=r"not answered within 0\.7 seconds"):
        list(running.client().chat.completions.create(**body(video.as_uri(), stream=True)))
    late = running.post(body(video.as_uri()))
    assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
    assert time.monotonic() - began >= 1.4
    assert running.figure("timechat_requests_in_server") == 0


def test_mistakes_of_the_server_stay_in_its_log(
    running: Running, model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fails(*args: Any, **options: Any) -> list[str]:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(model, "answer", fails)
    answer = running.post(body(video.as_uri()))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "a secret of the server" in caplog.text
    with pytest.raises(openai.APIError, match="its log has the reason"):
        list(running.client().chat.completions.create(**body(video.as_uri(), stream=True)))


def test_memory_that_is_not_enough(
    running: Running, model: VideoLanguageModel, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **options: Any) -> list[str]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    write_video(media / "unseen.mp4", frames=7)
    for name, file in (("answer", "v.mp4"), ("encode_video", "unseen.mp4")):
        with monkeypatch.context() as patch:
            patch.setattr(model, name, fails)
            answer = running.post(body((media / file).as_uri()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "out_of_memory")
        assert "retry-after" in answer.headers
        assert running.post(body((media / file).as_uri())).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json; charset=utf-8", 422),
        (json.dumps(body("file:///v.mp4")).encode(), "text/plain", 415),
    ],
)
def test_requests_that_are_no_json(running: Running, content: bytes, kind: str, status: int) -> None:
    answer = running.post(None, content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
