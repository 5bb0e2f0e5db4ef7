"""What is in a shard: by its headers, by its index, and both the same."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from helpers.shards import write_tar

from timechat.datasets.shards.index import Member, ShardIndex, index_text, read_index, scan
from timechat.errors import AnnotationError

MEMBERS = {
    "a/x.mp4": b"xx" * 300,
    "a/x.0.json": b"{}",
    "a/x.1.json": b"[1]",
    "a/x.txt": b"-",
    "y z%.json": b"{}",
    "y z%.webm": b"y",
    "no_video.json": b"{}",
    "no_annotation.mp4": b"n",
    f"{'long' * 50}.mkv": b"l",  # its header is a longer one
    f"{'long' * 50}.json": b"{}",
    "._a.mp4": b"of a Macintosh",
}


def names_of(index: ShardIndex) -> list[str]:
    return index.names.decode().splitlines()


def test_positions_are_those_of_the_bytes(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", MEMBERS)
    content = shard.read_bytes()
    found = {member.name: content[member.offset : member.offset + member.size] for member in scan(str(shard))}
    assert found == MEMBERS


def test_members_are_grouped_by_key(tmp_path: Path) -> None:
    members = scan(str(write_tar(tmp_path / "s.tar", MEMBERS)))
    index = ShardIndex.of(members)
    assert names_of(index) == ["a/x.mp4", "y z%.webm", "no_video", f"{'long' * 50}.mkv"]
    assert index.owner.tolist() == [0, 0, 1, 2, 3]
    assert index.videos[:, 1].tolist() == [600, 1, -1, 1]
    assert index.annotations[:, 1].tolist() == [2, 3, 2, 2, 2]
    assert index.unused == 2
    assert len(index) == 5


def test_of_several_videos_of_a_key_the_first_one_counts() -> None:
    members = [Member("a.webm", 512, 3), Member("a.json", 1536, 2), Member("a.mp4", 2560, 4)]
    index = ShardIndex.of(members)
    assert (names_of(index), index.videos.tolist()) == (["a.webm"], [[512, 3]])


def test_an_index_says_what_the_headers_say(tmp_path: Path) -> None:
    members = scan(str(write_tar(tmp_path / "s.tar", MEMBERS)))
    text = index_text(members)
    assert text.splitlines()[0] == "v1.2 6"
    assert "json 5120 2 y%20z%25.json webm 6144 1 y%20z%25.webm" in text.splitlines()
    read, found = read_index(text, "s.idx"), ShardIndex.of(members)
    assert (read.names, read.unused) == (found.names, found.unused)
    for name in ("videos", "owner", "annotations"):
        assert getattr(read, name).tolist() == getattr(found, name).tolist()


def test_an_empty_shard(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", {})
    assert scan(str(shard)) == []
    assert len(read_index(index_text([]), "s.idx")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with v1.2 and the number of lines, not with ''"),
        ("v1.1 1\nmp4 512 1 a.mp4\n", "not with 'v1.1 1'"),
        ("v1.2 2\nmp4 512 1 a.mp4\n", "not with 'v1.2 2'"),  # cut
        ("v1.2 1\nmp4 512 1 a.mp4", "no whole index"),
        ("v1.2 1\nmp4 512 a.mp4\n", "line 2: expected extension, position, bytes and name"),
        ("v1.2 1\nmp4 x 1 a.mp4\n", "line 2"),
    ],
)
def test_a_damaged_index_is_named(text: str, said: str) -> None:
    with pytest.raises(AnnotationError, match=r"^s\.idx") as error:
        read_index(text, "s.idx")
    assert said in str(error.value)


def _cut(content: bytearray, at: int) -> bytearray:
    return content[:at]


def _scratched(content: bytearray, at: int) -> bytearray:
    content[at : at + 8] = b"\xff" * 8
    return content


@pytest.mark.parametrize(
    ("damage", "at"),
    [(_cut, 100), (_cut, 1000), (_cut, 1536), (_cut, 1800), (_scratched, 0), (_scratched, 1536), (_cut, 0)],
)
def test_a_cut_or_damaged_shard_is_an_error(tmp_path: Path, damage, at: int) -> None:
    """In the first header, the first member, between two members, in the second's header; a header's name changed."""
    shard = write_tar(tmp_path / "s.tar", MEMBERS)
    shard.write_bytes(damage(bytearray(shard.read_bytes()), at))
    with pytest.raises(AnnotationError, match=r"s\.tar: is cut or damaged behind \d members"):
        scan(str(shard))


def test_what_is_no_tar_file(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_text("<html>" * 200)
    with pytest.raises(AnnotationError, match="is cut or damaged"):
        scan(str(tmp_path / "s.tar"))


def test_folders_and_links_are_no_members(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"a")
    (tmp_path / "in" / "b.mp4").symlink_to("a.mp4")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "in", "in")
    assert [member.name for member in scan(str(tmp_path / "s.tar"))] == ["in/a.mp4"]
