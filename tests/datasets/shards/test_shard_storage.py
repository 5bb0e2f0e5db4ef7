"""Names of shards, and their bytes: on the disk and behind URLs."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from timechat.datasets.shards import storage
from timechat.datasets.shards.storage import base_name, opened, read_file, read_ranges, shards_of, size_of
from timechat.errors import ConfigError


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder with two shards and another file."""
    base = str(tmp_path) if request.param == "disk" else f"memory://{tmp_path.name}"
    for name, content in {"t-00.tar": b"0123456789", "t-01.tar": b"abc", "notes.txt": b""}.items():
        with fsspec.open(f"{base}/{name}", "wb") as file:
            file.write(content)
    return base


def test_what_comes_in_pieces_is_read_to_its_end(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from disks in a network, or of more than 2 GB."""

    class Slow(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            return super().read(min(size, 2)) or b""

    monkeypatch.setattr(storage, "open", lambda name, mode, buffering=0: Slow(name), raising=False)
    assert read_ranges(f"{place}/t-00.tar", [(1, 8), (8, 20)]) == [b"1234567", b"89"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["t-00.tar", "t-01.tar"]),
        ("/", ["t-00.tar", "t-01.tar"]),
        ("/*.tar", ["t-00.tar", "t-01.tar"]),
        ("/*-01.tar", ["t-01.tar"]),
        ("/t-01.tar", ["t-01.tar"]),
        ("/t-{00..02}.tar", ["t-00.tar", "t-01.tar", "t-02.tar"]),  # one of them is missing: others say so
        ("/t-{0..0}{1..1}.tar", ["t-01.tar"]),
    ],
)
def test_patterns(place: str, pattern: str, names: list[str]) -> None:
    found = shards_of(place + pattern, "anno_dir")
    assert [base_name(name) for name in found] == names
    assert all(name.startswith(place) or name.startswith(place.replace("memory://", "memory:///")) for name in found)


@pytest.mark.parametrize("pattern", ["/none*.tar", "/notes.txt", "/nowhere"])
def test_no_shard(place: str, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^anno_dir=.*: no shard is there"):
        shards_of(place + pattern, "anno_dir")


def test_a_range_the_wrong_way_round() -> None:
    with pytest.raises(ConfigError, match=r"\{5\.\.2\} must go from the smaller to the larger number"):
        shards_of("t-{5..2}.tar", "anno_dir")


def test_two_shards_of_one_name() -> None:
    with pytest.raises(ConfigError, match="have one name"):
        shards_of("{0..1}/t.tar", "anno_dir")


def test_bytes(place: str) -> None:
    name = f"{place}/t-00.tar"
    assert size_of(name) == 10
    assert read_file(name) == b"0123456789"
    assert read_ranges(name, [(2, 4), (8, 20), (0, 0)]) == [b"23", b"89", b""]
    with opened(name) as file:
        file.seek(5)
        assert file.read(2) == b"56"


def test_nothing_there(place: str) -> None:
    name = f"{place}/none.tar"
    assert size_of(name) is None
    assert read_file(name) is None
    with pytest.raises(FileNotFoundError):
        read_ranges(name, [(0, 1)])


def test_without_fsspec_or_the_package_of_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"nowhere://a/t\.tar: fsspec cannot read it"):
        size_of("nowhere://a/t.tar")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[remote\]'"):
        size_of("memory://a/t.tar")


@pytest.mark.parametrize("name", ["info", "cat_file", "glob", "open"])
def test_what_a_file_system_raises_is_an_os_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as aiohttp's errors, which are none."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("connection lost")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), name, fail)
    calls = {
        "info": lambda: size_of("memory://t.tar"),
        "cat_file": lambda: read_ranges("memory://t.tar", [(0, 1)]),
        "glob": lambda: shards_of("memory://t", "anno_dir"),
        "open": lambda: opened("memory://t.tar").__enter__(),
    }
    with pytest.raises(OSError, match="RuntimeError: connection lost"):
        calls[name]()
