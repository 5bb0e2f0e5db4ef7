"""What YouCook2's and COIN's files share: `{"database": {video id: entry with "subset"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timechat.data.reading import OutByRule, Placed
from timechat.errors import AnnotationError


def videos_of(path: Path, content: Mapping[str, Any]) -> list[Placed]:
    """The videos by id, unchecked. Raises AnnotationError."""
    database = content.get("database")
    if not isinstance(database, dict):
        raise AnnotationError(f"{path}: no database, video id -> annotations; give the file as downloaded")
    return list(database.items())


def in_split(entry: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """The entry, if it belongs to a split. Raises OutByRule."""
    if entry.get("subset") != split:
        raise OutByRule(f"not in the split {split}")
    return entry
