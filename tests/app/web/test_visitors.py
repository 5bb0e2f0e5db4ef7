"""Who has opened the page: they share a model, and are forgotten when they have left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.videos import write_video
from helpers.watched import MOMENT, Slow, shared

from timechat.app.web import visitors as module
from timechat.app.web.errors import PageError
from timechat.app.web.session import Settings, Visitor
from timechat.app.web.uploads import Media, Uploads
from timechat.app.web.visitors import Visitors

PLAIN = Settings(frames=12)


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    made = Uploads(1 << 20, [write_video(tmp_path / "a.mp4", frames=40)])
    yield made
    made.close()


def ask(visitor: Visitor) -> str:
    visitor.begin("When?", None)
    for exchange in visitor.answer(PLAIN):
        last = exchange
    return last.problem or last.text


def owner(visitors: Visitors, uploads: Uploads, name: str = "me") -> tuple[Visitor, Media]:
    """A visitor with a video of their own."""
    path = uploads.folder / f"{name}.mp4"
    path.write_bytes(uploads.examples[0].path.read_bytes())
    media = Media(f"token-{name}", path, path.name, 0.0)
    uploads._files[media.token] = media
    visitor = visitors.get(name)
    visitor.open(media.token, 12)
    return visitor, media


def test_visitors_wait_for_each_other(uploads: Uploads) -> None:
    model = Slow({"": MOMENT}, pause=0.01)
    visitors = Visitors(shared(model), uploads, 10)
    said: dict[str, str] = {}

    def one(name: str) -> None:
        visitor = visitors.get(name)
        visitor.open(uploads.examples[0].token, 12)
        said[name] = ask(visitor)

    threads = [threading.Thread(target=one, args=(str(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == dict.fromkeys("012", MOMENT)
    assert model.most == 1


def test_who_leaves_frees_the_model_at_once_and_the_disk_after_a_while(uploads: Uploads) -> None:
    visitors = Visitors(shared(Slow({"": MOMENT}, pause=0.05)), uploads, 10, patience_s=1)
    visitor, own = owner(visitors, uploads)
    visitor.begin("When?", None)
    answers = visitor.answer(PLAIN)
    while not next(answers).text:
        pass
    visitors.lose("me")
    assert len(list(answers)) <= 3
    visitors._farewells["me"].join(60)
    assert len(visitors) == 0
    assert not own.path.exists()
    visitors.lose("me")
    visitors.forget("me")


def test_a_lost_connection_is_forgiven_as_long_as_the_page_is_heard_of(uploads: Uploads) -> None:
    visitors = Visitors(shared(Slow({"": MOMENT})), uploads, 10, patience_s=3600)
    visitor, own = owner(visitors, uploads)
    ask(visitor)
    visitors.lose("me")
    first = visitors._farewells["me"]
    visitors.hear(visitor.token)
    assert first.finished.is_set()
    assert visitors.get("me") is visitor
    assert (len(visitor.exchanges), own.path.exists()) == (1, True)
    assert not visitors._farewells["me"].finished.is_set()  # gradio's page does not connect again
    visitors.close()
    assert not own.path.exists()
    with pytest.raises(PageError, match="was forgotten"):
        visitors.hear(visitor.token)


def test_the_one_who_was_silent_longest_makes_room(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VISITORS", 2)
    visitors = Visitors(shared(Slow({"": MOMENT})), uploads, 10)
    first, _ = owner(visitors, uploads, "first")
    _, silent = owner(visitors, uploads, "second")
    visitors.hear(first.token)
    visitors.get("third")
    assert not silent.path.exists()
    assert visitors.get("first") is first


def test_an_answer_is_found_by_its_name(uploads: Uploads) -> None:
    visitors = Visitors(shared(Slow({"": MOMENT})), uploads, 10)
    visitor = visitors.get("me")
    visitor.open(uploads.examples[0].token, 12)
    ask(visitor)
    exchange = visitor.exchanges[0]
    assert visitors.find(exchange.token) == (exchange, uploads.examples[0])
    with pytest.raises(PageError, match="no longer here"):
        visitors.find("other")
