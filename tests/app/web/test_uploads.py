"""Files of the page: what it takes, how much, for how long, and that nothing else can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from timechat.app.web.errors import PageError
from timechat.app.web.uploads import MAX_SPEECH_BYTES, Media, Uploads, find_examples


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    (tmp_path / "example.mp4").write_bytes(b"video")
    made = Uploads(1000, [tmp_path / "example.mp4"])
    yield made
    made.close()


def receive(uploads: Uploads, name: str, *chunks: bytes) -> Media:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(uploads.receive(name, stream()))


def files(uploads: Uploads) -> list[Path]:
    return list(uploads.folder.iterdir())


def test_a_file_arrives(uploads: Uploads) -> None:
    media = receive(uploads, "My holiday.MP4", b"ab", b"cd")
    assert media.path.read_bytes() == b"abcd"
    assert media.path.parent == uploads.folder
    assert (media.name, media.path.suffix) == ("My holiday.MP4", ".mp4")
    assert uploads.get(media.token) == media


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.mp4", "/etc/x.mp4", "..\\..\\x.mp4", "a\x00b.mp4", "é" * 900 + ".mp4"]
)
def test_names_lead_nowhere(uploads: Uploads, name: str) -> None:
    media = receive(uploads, name, b"x")
    assert media.path.parent == uploads.folder
    assert "/" not in media.name
    assert "\\" not in media.name
    assert len(files(uploads)) == 1


@pytest.mark.parametrize(
    ("name", "chunks", "words"),
    [
        ("big.mp4", [b"x" * 600, b"x" * 600], "larger than 1 kB"),
        ("big.srt", [b"x" * (MAX_SPEECH_BYTES + 1)], "larger than 4 MB"),
        ("notes.txt", [b"x"], "notes.txt is neither a video nor an image"),
        ("page.html", [b"x"], "neither"),
        ("picture.svg", [b"x"], "neither"),
        ("empty.mp4", [], "empty.mp4 is empty"),
    ],
)
def test_what_is_refused_leaves_nothing(uploads: Uploads, name: str, chunks: list[bytes], words: str) -> None:
    with pytest.raises(PageError, match=words):
        receive(uploads, name, *chunks)
    assert files(uploads) == []


def test_there_is_an_end_to_the_room(uploads: Uploads) -> None:
    kept = [receive(uploads, "v.mp4", b"x" * 1000) for _ in range(20)]
    with pytest.raises(PageError, match="no room"):
        receive(uploads, "v.mp4", b"x")
    uploads.remove(kept[0])
    receive(uploads, "v.mp4", b"x")


def test_what_nobody_opens_is_removed(uploads: Uploads) -> None:
    left, opened = (receive(uploads, name, b"x") for name in ("left.mp4", "opened.mp4"))
    uploads.claim(opened.token)
    uploads.remove_unclaimed()
    assert len(files(uploads)) == 2
    uploads.remove_unclaimed(older_than=0)
    assert files(uploads) == [opened.path]
    with pytest.raises(PageError, match="no longer here"):
        uploads.claim(left.token)


def test_examples_stay(uploads: Uploads) -> None:
    (example,) = uploads.examples
    assert uploads.claim(example.token) == example
    uploads.remove(example)
    uploads.remove_unclaimed(older_than=0)
    uploads.close()
    assert example.path.exists()
    assert not uploads.folder.exists()
    assert uploads.get(example.token) == example


def test_examples_are_inside_their_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "secret.mp4", tmp_path / "examples"
    folder.mkdir()
    outside.write_bytes(b"x")
    for name in ("b.mp4", "a.jpg", "notes.txt", "c.webm"):
        (folder / name).write_bytes(b"x")
    (folder / "link.mp4").symlink_to(outside)
    (folder / "own.mp4").symlink_to(folder / "b.mp4")
    (folder / "folder.mp4").mkdir()
    assert [path.name for path in find_examples(folder, 9)] == ["a.jpg", "b.mp4", "c.webm", "own.mp4"]
    assert len(find_examples(folder, 2)) == 2
