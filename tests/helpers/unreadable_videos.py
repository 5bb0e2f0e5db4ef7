"""Videos of which many cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from helpers.interruptions import PLAIN
from helpers.training import video_entry
from helpers.videos import write_video


def unreadable(folder: Path, good: int, bad: int) -> dict[str, Any]:
    """A dataset with so many readable videos, and so many that are none: the same two files under many names."""
    folder.mkdir(parents=True)
    write_video(folder / "good.mp4", frames=4)
    (folder / "bad.mp4").write_text("no video")
    names = []
    for kind, count in (("good", good), ("bad", bad)):
        for number in range(count):
            os.link(folder / f"{kind}.mp4", folder / f"{kind}{number}.mp4")
            names.append(f"{kind}{number}.mp4")
    return video_entry(folder, names, **PLAIN)
