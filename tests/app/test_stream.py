"""Answers while they are written, and conversations about one video."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import build_tiny, tiny_config
from helpers.videos import write_video

from timechat.app.answer import Answer
from timechat.app.api import EncodedVideo, VideoLanguageModel
from timechat.app.chat import Chat
from timechat.app.stream import AnswerStream
from timechat.errors import ConfigError
from timechat.models.watching import PartialAnswer

QUESTION = "When does the chef cut the bread?"


@pytest.fixture(scope="module")
def model() -> VideoLanguageModel:
    """No test changes it."""
    return VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny())


@pytest.fixture(scope="module")
def video(model: VideoLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> EncodedVideo:
    return model.encode(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "timechat-answer"]


# A stream ------------------------------------------------------------------------------------------------------------


def test_the_pieces_are_the_answer(model: VideoLanguageModel, video: EncodedVideo) -> None:
    expected = model.ask(video, QUESTION, max_new_tokens=12)
    with model.stream(video, QUESTION, max_new_tokens=12) as stream:
        pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == expected.text
    assert stream.answer == expected
    assert (stream.num_tokens, stream.ended) == (12, False)
    assert not threads()


def test_a_sampled_answer_is_the_same_when_it_is_streamed(model: VideoLanguageModel, video: EncodedVideo) -> None:
    sampling = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 8}
    torch.manual_seed(3)
    expected = model.ask(video, QUESTION, **sampling)
    torch.manual_seed(3)
    assert model.stream(video, QUESTION, **sampling).answer == expected
    assert expected != model.ask(video, QUESTION, max_new_tokens=8)


def test_a_stopped_stream_keeps_what_is_there(model: VideoLanguageModel, video: EncodedVideo) -> None:
    whole = model.ask(video, QUESTION, max_new_tokens=400).text
    with model.stream(video, QUESTION, max_new_tokens=400) as stream:
        first = next(stream)
        stream.stop()
        rest = "".join(stream)
    assert whole.startswith(first + rest)
    assert stream.answer.text == first + rest
    assert stream.num_tokens < 400
    assert not stream.ended


def test_leaving_the_block_frees_the_model(model: VideoLanguageModel, video: EncodedVideo) -> None:
    with model.stream(video, QUESTION, max_new_tokens=400) as stream:
        next(stream)
    assert not threads()
    assert stream.num_tokens < 400


def test_what_goes_wrong_is_raised_where_it_is_read(model: VideoLanguageModel, video: EncodedVideo) -> None:
    def fails(watch: Any) -> str:
        watch([PartialAnswer("At", 1, False)])
        raise RuntimeError("out of memory")

    stream = AnswerStream(fails, Answer)
    assert next(stream) == "At"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            next(stream)
    with pytest.raises(ConfigError, match="the question is empty"):
        model.stream(video, " ")


def test_half_a_character_waits_for_its_other_half() -> None:
    def writes(watch: Any) -> str:
        for count, text in enumerate(["caf", "caf�", "caf��", "café"], start=1):
            watch([PartialAnswer(text, count, False)])
        return "café"

    assert list(AnswerStream(writes, Answer)) == ["caf", "é"]


# A conversation ------------------------------------------------------------------------------------------------------


def test_each_question_is_read_with_the_earlier_ones(model: VideoLanguageModel, video: EncodedVideo) -> None:
    chat = Chat(model, video)
    first = chat.ask(QUESTION, max_new_tokens=4)
    second = chat.ask("cut the bread", task="ground", max_new_tokens=4)
    prompt = model.prompt("cut the bread", "ground")
    assert chat.turns == [(QUESTION, first.text), (prompt, second.text)]
    assert second == model.ask(
        video, "cut the bread", task="ground", max_new_tokens=4, history=[(QUESTION, first.text)]
    )
    assert second != model.ask(video, "cut the bread", task="ground", max_new_tokens=4)
    chat.clear()
    assert chat.ask(QUESTION, max_new_tokens=4) == first


def test_a_turn_counts_when_it_has_been_read(model: VideoLanguageModel, video: EncodedVideo) -> None:
    chat = Chat(model, video)
    with chat.stream(QUESTION, max_new_tokens=4) as stream:
        next(stream)
        assert chat.turns == []
        answer = stream.answer
    assert chat.turns == [(QUESTION, answer.text)]


def test_a_conversation_ends_where_the_model_stops_reading(model: VideoLanguageModel, video: EncodedVideo) -> None:
    """Not a first question, which may be about long speech."""
    chat, longest = Chat(model, video), model.cfg.model.max_txt_len
    chat.ask("word " * longest, max_new_tokens=1)
    with pytest.raises(
        ConfigError, match=rf"the conversation has \d+ tokens.*model\.max_txt_len={longest}; begin a new"
    ):
        chat.ask(QUESTION, max_new_tokens=1)
    chat.clear()
    assert chat.ask(QUESTION, max_new_tokens=1)


def test_a_video_is_encoded_once(model: VideoLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = type(model.model).encode_video
    monkeypatch.setattr(
        type(model.model),
        "encode_video",
        lambda self, frames, *rest: (encoded.append(1), encode(self, frames, *rest))[1],
    )
    chat = Chat(model, write_video(tmp_path / "v.mp4"))
    for _ in range(2):
        chat.ask(QUESTION, max_new_tokens=2)
    assert len(encoded) == 1
