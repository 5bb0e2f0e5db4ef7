"""What TimeIT and Valley contain as published, and where their videos are hosted today: `timeit.yaml`."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml

from timechat.sources import videos_from

# What raw Valley calls its sources.
_RAW_VALLEY = {"VATEX": "vatex", "jukinmedia": "jukin"}

_WITH_SPEECH = re.compile(r"_(?:\d+)?asr(?=\.json$)")


@dataclass(frozen=True)
class Published:
    """A source of TimeIT or Valley.

    Attributes:
        title: of the data set.
        task: what its items ask for.
        file: its annotations, below TimeIT/data.
        items: how many they are.
        folder: the first folder of their videos' paths.
        merged: whether they are in TimeIT's merged file.
        hosted: copies of the videos on the Hugging Face hub, each with repository and path.
    """

    title: str
    task: str
    file: str
    items: int
    folder: str
    hosted: tuple[str, ...]
    merged: bool = False

    def places(self) -> list[str]:
        """Where its videos can be had: copies first, then the page of the data set."""
        copies = [f"hub: {copy}" for copy in self.hosted] or ["no copy is known"]
        page = videos_from(self.folder)
        return [*copies, f"page: {page}"] if page else copies


@functools.cache
def published() -> dict[str, Published]:
    """The sources by name, as TimeIT's merged file calls them."""
    content = yaml.safe_load(files("timechat.data").joinpath("timeit.yaml").read_text(encoding="utf-8"))
    return {name: Published(**{**entry, "hosted": tuple(entry["hosted"])}) for name, entry in content.items()}


def source_of(said: str, path: str, annotations: str | Path) -> str:
    """The source of an item.

    Args:
        said: what the item says; "" if nothing.
        path: of its video.
        annotations: the file that the item is in.

    Returns:
        A name of `published` if it is one of them; else what the item says, or the first folder of its path, or "".
    """
    known = published()
    said = _RAW_VALLEY.get(said, said)
    if said in known:
        return said
    first, _, rest = path.partition("/")
    if name := _by_file().get(_WITH_SPEECH.sub("", os.path.basename(annotations))):
        return name
    return said or _by_folder().get(first, first if rest else "")


@functools.cache
def _by_folder() -> dict[str, str]:
    """The first source of each folder: HiREST has two."""
    return {entry.folder: name for name, entry in reversed(published().items())}


@functools.cache
def _by_file() -> dict[str, str]:
    """The source of each annotation file that has only one, by its name."""
    names = [Path(entry.file).name for entry in published().values()]
    return {file: name for name, file in zip(published(), names, strict=True) if names.count(file) == 1}
