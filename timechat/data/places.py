"""Which collection a video belongs to, and which names mean the same video: rules in YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from timechat.errors import ConfigError

_RULES = "places.yaml"
_KEYS = {"extensions", "collections"}
_COLLECTION_KEYS = {"name", "folders", "prefixes"}


@dataclass(frozen=True)
class Collection:
    """Videos that are known in several folders, under names that are nearly the same.

    Attributes:
        name: for people.
        folders: folders that mean it, each as the lower-case parts of a path; those that are preferred first.
        prefixes: what a video's name may begin with in one place and lack in another.
    """

    name: str
    folders: tuple[tuple[str, ...], ...]
    prefixes: tuple[str, ...] = ()

    def rank(self, parts: Sequence[str]) -> int | None:
        """Which of its folders a path goes through; None if through none.

        Args:
            parts: the lower-case parts of the path of a folder.
        """
        return next((rank for rank, folder in enumerate(self.folders) if _contains(parts, folder)), None)

    def alike(self, stem: str) -> Iterator[str]:
        """All names that the video with this one may have, without extensions; its own first."""
        yield stem
        for prefix in self.prefixes:
            yield stem.removeprefix(prefix) if stem.startswith(prefix) else prefix + stem


@dataclass(frozen=True)
class Rules:
    """The collections, and the extensions of video files with their dots, in lower case."""

    collections: tuple[Collection, ...]
    extensions: tuple[str, ...]

    def collection_of(self, parts: Sequence[str]) -> Collection | None:
        """The collection of a folder, given as the lower-case parts of its path: the first one of which it has one."""
        return next((one for one in self.collections if one.rank(parts) is not None), None)

    def split(self, name: str) -> tuple[str, str]:
        """A file's name without its extension, and that; dots in names without one are no extension."""
        stem, extension = os.path.splitext(name)
        return (stem, extension.lower()) if extension.lower() in self.extensions else (name, "")


def parts_of(folder: str) -> tuple[str, ...]:
    """The lower-case parts of a path of a folder."""
    return tuple(part for part in folder.lower().split("/") if part not in ("", "."))


def load_rules(others: str | Path | None = None) -> Rules:
    """The rules of this package.

    Args:
        others: a file in the same form, whose collections go in front; one of a name that is known takes its place.

    Raises:
        ConfigError: the file is missing or not in that form; everything that is wrong with it.
    """
    own = _parse(files("timechat.data").joinpath(_RULES).read_text(encoding="utf-8"), _RULES)
    if others is None:
        return own
    try:
        theirs = _parse(Path(others).read_text(encoding="utf-8"), str(others))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--rules={others}: cannot be read ({error})") from error
    named = {one.name for one in theirs.collections}
    kept = tuple(one for one in own.collections if one.name not in named)
    return Rules(theirs.collections + kept, tuple(dict.fromkeys(theirs.extensions + own.extensions)))


def _parse(text: str, file: str) -> Rules:
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if problems := list(_problems(content)):
        raise ConfigError(f"{file}: " + "; ".join(problems))
    collections = [
        Collection(one["name"], tuple(map(parts_of, one["folders"])), tuple(one.get("prefixes", ())))
        for one in content.get("collections", ())
    ]
    return Rules(tuple(collections), tuple(extension.lower() for extension in content.get("extensions", ())))


def _problems(content: Any) -> Iterator[str]:
    if not isinstance(content, dict):
        yield "expected the keys collections and extensions"
        return
    yield from (f"unknown key {key}" for key in content if key not in _KEYS)
    if not _texts(content.get("extensions", [])) or not all(text[:1] == "." for text in content.get("extensions", [])):
        yield "extensions must be a list such as [.mp4, .mkv]"
    collections = content.get("collections", [])
    if not isinstance(collections, list):
        yield "collections must be a list"
        return
    for number, one in enumerate(collections):
        where = f"collections[{number}]"
        if not isinstance(one, dict):
            yield f"{where} must have the keys name and folders"
            continue
        yield from (f"{where}: unknown key {key}" for key in one if key not in _COLLECTION_KEYS)
        if not isinstance(one.get("name"), str):
            yield f"{where}.name is missing"
        if not _texts(one.get("folders")) or not all(map(parts_of, one["folders"])):
            yield f"{where}.folders must be a list of folders, such as [COIN, coin/videos]"
        if not _texts(one.get("prefixes", [])):
            yield f"{where}.prefixes must be a list of texts, such as [v_]"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _contains(parts: Sequence[str], folder: tuple[str, ...]) -> bool:
    """Whether a path goes through a folder, which may be several inside of one another."""
    length = len(folder)
    return any(tuple(parts[place : place + length]) == folder for place in range(len(parts) - length + 1))
