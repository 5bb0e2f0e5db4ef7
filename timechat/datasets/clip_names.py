"""Names of clips that say from where in which video they were cut, as VATEX and Valley have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

# An id of YouTube, and the first and the last second.
_NAME = re.compile(r"(?P<video>[\w-]{11})_(?P<start>\d{6})_(?P<end>\d{6})")


@dataclass(frozen=True)
class NamedClip:
    """A clip.

    Attributes:
        video: the id of the whole video.
        start, end: seconds of it.
    """

    video: str
    start: float
    end: float


def clip_of(entry: Mapping[str, Any]) -> NamedClip | None:
    """The clip that an entry is about, if its `video` is the whole one and its `v_id` names the clip, as in raw Valley.

    None if `video` is the clip itself, or there is no such `v_id`.
    """
    name, video = entry.get("v_id"), entry.get("video")
    if not isinstance(name, str) or not isinstance(video, str) or PurePath(video).name.startswith(name):
        return None
    return named_clip(name)


def named_clip(name: object) -> NamedClip | None:
    """The clip that an id such as `Ptf_2VRj-V0_000122_000132` names; None for anything else.

    An empty one, which ends where it starts or before, is returned as it is: callers report it.
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    return None if found is None else NamedClip(found["video"], float(found["start"]), float(found["end"]))
