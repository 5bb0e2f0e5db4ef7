"""What the page knows of a visitor: the video, the conversation, and answers that grow, stop and fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.tiny import build_tiny
from helpers.videos import write_video
from helpers.watched import MOMENT, Slow, shared

from timechat.app.answer import Segment
from timechat.app.web.errors import OUT_OF_MEMORY, PageError
from timechat.app.web.session import MOST_CHARACTERS, Settings, Visitor
from timechat.app.web.uploads import Media, Uploads

PLAIN = Settings(frames=12)
SRT = "1\n00:00:00,000 --> 00:00:01,000\nHello there\n"


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    videos = [write_video(tmp_path / name, frames=40) for name in ("a.mp4", "b.mp4")]
    made = Uploads(1 << 20, videos)
    yield made
    made.close()


def visit(uploads: Uploads, model: Slow | None = None, minutes: float = 10) -> tuple[Visitor, Slow]:
    model = model or Slow({"": MOMENT})
    visitor = Visitor(shared(model), uploads, minutes)
    visitor.open(uploads.examples[0].token, 12)
    return visitor, model


def ask(visitor: Visitor, question: str = "When?", task: str | None = None, settings: Settings = PLAIN) -> str:
    visitor.begin(question, task)
    for exchange in visitor.answer(settings):
        last = exchange
    return last.problem or last.text


def sent(uploads: Uploads, name: str, content: bytes) -> Media:
    """As if a visitor had sent it."""
    path = uploads.folder / name
    path.write_bytes(content)
    media = Media(f"token-{name}", path, name, 0.0)
    uploads._files[media.token] = media
    return media


# A conversation -------------------------------------------------------------------------------------------------------


def test_an_answer_grows_and_names_its_segments(uploads: Uploads) -> None:
    visitor, _ = visit(uploads, Slow({"": MOMENT}, pause=0.08))
    visitor.begin("bright", "ground")
    texts = [exchange.text for exchange in visitor.answer(PLAIN)]
    assert texts[0] == ""
    assert 0 < len(texts[2]) < len(MOMENT)
    assert texts == sorted(texts, key=len)
    answer = visitor.exchanges[0].answer
    assert answer is not None
    assert answer.segments == [Segment(2.0, 3.5, "bright")]


def test_a_video_is_encoded_once_for_many_questions(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    for question in ("one", "two", "three"):
        assert ask(visitor, question) == MOMENT
    assert model.encoded == [12]
    assert [len(asked.get("histories", [[]])[0]) for asked in model.asked] == [0, 1, 2]


def test_another_video_begins_another_conversation(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    ask(visitor)
    visitor.open(uploads.examples[1].token, 12)
    assert visitor.exchanges == []
    ask(visitor)
    assert model.encoded == [12, 12]
    assert "histories" not in model.asked[-1]


def test_a_new_conversation_keeps_the_video(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    ask(visitor)
    visitor.clear()
    ask(visitor)
    assert model.encoded == [12]
    assert "histories" not in model.asked[-1]


def test_what_cannot_be_asked(uploads: Uploads) -> None:
    visitor, _ = visit(uploads)
    for question, task, words in (
        (" ", None, "Type a question"),
        ("", "ground", "Type what to look for"),
        ("a" * (MOST_CHARACTERS + 1), None, "takes up to 10000"),
    ):
        with pytest.raises(PageError, match=words):
            visitor.begin(question, task)
    visitor.begin("", "caption")
    with pytest.raises(PageError, match="still being written"):
        visitor.begin("and?", None)
    with pytest.raises(PageError, match="no video yet"):
        Visitor(shared(), uploads, 1).begin("When?", None)


def test_an_answer_is_written_once(uploads: Uploads) -> None:
    """A press that was refused is followed by `answer` all the same."""
    visitor, model = visit(uploads)
    ask(visitor)
    assert list(visitor.answer(PLAIN)) == []
    assert len(model.asked) == 1


# Every setting acts ---------------------------------------------------------------------------------------------------


def test_another_number_of_frames(uploads: Uploads) -> None:
    """The video is read again, and the conversation goes on."""
    visitor, model = visit(uploads)
    ask(visitor)
    ask(visitor, settings=Settings(frames=5))
    assert model.encoded == [12, 5]
    assert visitor.video is not None
    assert len(visitor.video.seconds) == 5
    assert len(model.asked[-1]["histories"][0]) == 1


def test_temperature_and_length(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    ask(visitor)
    ask(visitor, settings=Settings(12, temperature=0.7, max_new_tokens=33))
    greedy, drawn = model.asked
    assert "do_sample" not in greedy
    assert (drawn["do_sample"], drawn["temperature"], drawn["max_new_tokens"]) == (True, 0.7, 33)


def test_lora_alpha_is_for_one_answer(uploads: Uploads) -> None:
    tiny = build_tiny()
    visitor = Visitor(shared(tiny), uploads, 10)
    visitor.open(uploads.examples[0].token, 12)
    texts = []
    for alpha in (None, 0.0, 400.0, None):
        visitor.clear()
        texts.append(ask(visitor, settings=Settings(12, lora_alpha=alpha, max_new_tokens=12)))
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3


# Stopping -------------------------------------------------------------------------------------------------------------


def test_stop_keeps_what_is_there(uploads: Uploads) -> None:
    visitor, model = visit(uploads, Slow({"": MOMENT}, pause=0.08))
    visitor.begin("When?", None)
    for exchange in visitor.answer(PLAIN):
        if len(exchange.text) > 8:
            visitor.stop()
    assert exchange.stopped
    assert MOMENT.startswith(exchange.text)
    assert len(exchange.text) < len(MOMENT)
    model.go_on.set()
    assert ask(visitor) == MOMENT


def test_stop_before_the_model_is_free(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    visitor.begin("When?", None)
    visitor.stop()
    assert [exchange.problem for exchange in visitor.answer(PLAIN)] == ["Stopped before the model had time for it."]
    assert model.asked == []
    assert ask(visitor) == MOMENT


def test_a_conversation_that_is_cleared_meanwhile_stays_empty(uploads: Uploads) -> None:
    visitor, model = visit(uploads, Slow({"": MOMENT}, pause=0.05))
    visitor.begin("When?", None)
    for exchange in visitor.answer(PLAIN):
        if exchange.text:
            visitor.clear()
    assert visitor.exchanges == []
    ask(visitor)
    assert "histories" not in model.asked[-1]


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OUT_OF_MEMORY),
        (ZeroDivisionError("1/0"), "Something went wrong (ZeroDivisionError)"),
    ],
)
def test_the_conversation_goes_on_after_an_error(uploads: Uploads, error: Exception, words: str) -> None:
    visitor, _ = visit(uploads, Slow({"bad": error, "": MOMENT}))
    assert ask(visitor, "bad").startswith(words)
    assert ask(visitor, "good") == MOMENT


def test_a_damaged_video_leaves_the_one_before(uploads: Uploads) -> None:
    visitor, _ = visit(uploads)
    broken = sent(uploads, "broken.mp4", b"no video")
    with pytest.raises(PageError, match=r"^broken\.mp4 cannot be used: ") as raised:
        visitor.open(broken.token, 12)
    assert str(uploads.folder) not in str(raised.value)
    assert not broken.path.exists()
    assert ask(visitor) == MOMENT


def test_a_long_video_is_refused(uploads: Uploads) -> None:
    visitor = Visitor(shared(), uploads, 0.05)
    with pytest.raises(PageError, match=r"a\.mp4 lasts 0 minutes; this page takes videos of up to 0\.05"):
        visitor.open(uploads.examples[0].token, 12)


# Speech ---------------------------------------------------------------------------------------------------------------


def test_speech_goes_before_the_next_question(uploads: Uploads) -> None:
    visitor, model = visit(uploads)
    speech = sent(uploads, "said.srt", SRT.encode())
    assert visitor.hear(speech.token) == 1
    ask(visitor, "first")
    ask(visitor, "second")
    assert "Hello there" in model.asked[0]["prompt"]
    assert "Hello there" not in model.asked[1]["prompt"]
    visitor.clear()
    ask(visitor, "third")
    assert "Hello there" in model.asked[2]["prompt"]
    visitor.forget_speech()
    assert not speech.path.exists()


def test_speech_that_cannot_be_read(uploads: Uploads) -> None:
    visitor, _ = visit(uploads)
    long = SRT.replace("Hello", "Hello " * MOST_CHARACTERS).encode()
    for name, content in (("empty.srt", b""), ("video.mp4", b"x"), ("wrong.json", b"[]"), ("long.srt", long)):
        media = sent(uploads, name, content)
        with pytest.raises(PageError, match=name):
            visitor.hear(media.token)
        assert not media.path.exists()
