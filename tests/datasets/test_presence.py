"""Which files of a dataset exist: the same answer as asking for each of them, much sooner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from timechat.datasets import presence
from timechat.datasets.annotations import Item
from timechat.datasets.base import VideoDataset
from timechat.datasets.presence import FEW, missing_files


class Names(VideoDataset):
    """A dataset that is only asked for its paths."""

    makes = object

    def sample(self, index: int, generator: Any) -> None:
        """Nothing is read."""
        raise AssertionError("a file was read")


def names_of(folder: Path, items: list[Item]) -> Names:
    """A dataset of some items."""
    return Names("tv", items, folder, load=lambda path, generator: None, processor=lambda frames, generator: frames)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders with many files, one with few; links to files, to a folder, and to nothing."""
    for place, count in (("many", 3 * FEW), ("deep/in", 3 * FEW), ("few", 2)):
        (tmp_path / place).mkdir(parents=True)
        for number in range(count):
            (tmp_path / place / f"{number}.mp4").touch()
    (tmp_path / "many" / "no_suffix").touch()
    (tmp_path / "many" / "link.mp4").symlink_to("0.mp4")
    (tmp_path / "many" / "broken.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "linked").symlink_to("deep/in")
    return tmp_path


def test_it_is_what_asking_for_each_file_says(folder: Path) -> None:
    numbers = [f"{number}.mp4" for number in range(5 * FEW)]
    places = ("many", "deep/in", "few", "linked", "absent", "many/0.mp4", "deep/../many", "./many")
    paths = [f"{place}/{name}" for place in places for name in numbers]
    paths += ["many/no_suffix", "many/no_suffix.mp4", "many/link.mp4", "many/broken.mp4", "many", "few/9.mp4", "x.mp4"]
    gone = missing_files(paths, folder)
    assert gone == {path for path in paths if not os.path.exists(folder / path)}
    assert {"many/broken.mp4", "many/no_suffix.mp4", "linked/30.mp4"} <= gone
    assert not {"many/link.mp4", "many/no_suffix", "linked/3.mp4", "deep/../many/3.mp4"} & gone


def test_a_folder_is_listed_and_its_files_are_not_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    exists = os.path.exists
    monkeypatch.setattr(presence.os.path, "exists", lambda path: asked.append(str(path)) or exists(path))
    missing_files([f"many/{number}.mp4" for number in range(5 * FEW)] + ["many/link.mp4", "few/0.mp4"], folder)
    assert sorted(path.rpartition(f"{folder}/")[2] for path in asked) == ["few/0.mp4", "many/link.mp4"]


def test_a_folder_that_may_not_be_listed_is_asked_file_by_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(presence.os, "scandir", refuse)
    paths = [f"many/{number}.mp4" for number in range(5 * FEW)]
    assert missing_files(paths, folder) == set(paths[3 * FEW :])


def test_names_that_the_file_system_takes_for_the_same_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where A.MP4 and a.mp4 are one file; here nothing answers to the other name."""
    names = [f"many/{number}.MP4" for number in range(3 * FEW)]
    assert missing_files(names, folder) == set(names)
    monkeypatch.setattr(presence.os.path, "exists", lambda path: True)
    assert missing_files(names, folder) == set()


def test_files_and_samples_are_counted_by_source(folder: Path) -> None:
    """Two samples share a file; what names no source belongs to the dataset."""
    paths = {"many/0.mp4": "coin", "many/x.mp4": "coin", "few/0.mp4": "", "few/7.mp4": "", "few/8.mp4": ""}
    items = [Item(path, (), source) for path, source in paths.items()]
    data = names_of(folder, [*items, items[0], items[1]])
    found = data.presence()
    assert (found.samples, found.samples_there, found.files_there) == (7, 3, 2)
    assert (found.files, found.missing) == (
        {"coin": 2, "tv": 3},
        {"coin": ["many/x.mp4"], "tv": ["few/7.mp4", "few/8.mp4"]},
    )
    assert str(found) == "datasets.tv: 2 of 5 files exist, for 3 of 7 samples"
    assert list(found.by_source()) == [
        "tv: 2 of 3 files are missing, such as few/7.mp4",
        "coin: 1 of 2 files are missing, such as many/x.mp4",
    ]


def test_what_is_left_keeps_its_order_and_its_names(folder: Path) -> None:
    """A key tells the position in the annotation file, whatever was left out."""
    data = names_of(folder, [Item(f"{name}.mp4", ()) for name in "abcab"])
    data.leave_out({"a.mp4"})
    assert [data.key(index) for index in range(len(data))] == ["tv[1] b.mp4", "tv[2] c.mp4", "tv[4] b.mp4"]
    data.leave_out({"b.mp4"})
    assert [data.key(index) for index in range(len(data))] == ["tv[2] c.mp4"]
