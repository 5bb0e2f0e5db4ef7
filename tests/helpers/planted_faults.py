"""A folder with every kind of fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.tiny import write_json
from helpers.videos import write_video
from timechat.lfs import MARK

GOOD = "clip.mp4"  # of 6 seconds


@dataclass(frozen=True)
class Planted:
    """Annotations and videos.

    Attributes:
        annotations: the file.
        videos: the folder.
        faults: what is wrong with each item, in the order of the file; nothing with most of them.
    """

    annotations: Path
    videos: Path
    faults: tuple[tuple[str, ...], ...]


def asked(answer: str, video: str = GOOD, question: str = "When?") -> dict[str, Any]:
    """An item."""
    return {"video": video, "QA": [{"q": question, "a": answer}], "source": "coin"}


# What is in the file, and what is wrong with it. "*" is a good item with another question each time.
ITEMS: list[tuple[Any, tuple[str, ...]]] = [
    (asked("The given query happens in 1.0 - 5.0 seconds."), ()),
    (asked("0.0 - 2.0 seconds, he cuts.  2.5 - 6.0 seconds, he bakes it for 40 minutes."), ()),
    (asked("2.7 seconds, Introduction.  4.5 seconds, Cook for 2 - 3 hours."), ()),
    (asked("There are 2 highlight moments in the 2, 4 second. Their saliency scores are 13.0, 71.0."), ()),
    (asked("He cuts 12 onions within 10 minutes and then 300 more, which everybody in the kitchen finds amazing."), ()),
    (asked("The given query happens in 1.0 - 6.9 seconds."), ()),  # within the tolerance
    ({"video": GOOD}, ("schema",)),
    (asked("", question="Why?"), ("schema",)),
    (asked("Yes.", "../outside.mp4"), ("schema",)),
    ("an item", ("schema",)),
    (asked("Yes.", "gone.mp4"), ("missing",)),
    (asked("Yes.", "nowhere/gone.mp4"), ("missing",)),
    (asked("Yes.", "pointer.mp4"), ("lfs-pointer",)),
    (asked("Yes.", "empty.mp4"), ("unreadable",)),
    (asked("Yes.", "text.mp4"), ("unreadable",)),
    (asked("Yes.", "cut.mp4"), ("unreadable",)),
    (asked("Yes.", "folder.mp4"), ("unreadable",)),
    (asked("Yes.", "short.mp4"), ("too-short",)),
    (asked("The given query happens in 1.0 - 9.0 seconds."), ("beyond-end",)),
    (asked("0.0 - 2.0 seconds, he cuts.  2.5 - 60.0 seconds, he bakes."), ("beyond-end",)),
    (asked("There are 2 highlight moments in the 2, 14 second. Their saliency scores are 3.0, 1.0."), ("beyond-end",)),
    (asked("12.7 seconds, Introduction.  14.5 seconds, Cook."), ("beyond-end",)),
    (asked("It is from 2 s to 1 minute."), ("beyond-end",)),
    (asked("The given query happens in 5.0 - 1.0 seconds."), ("start-not-before-end",)),
    (asked("0.0 - 2.0 seconds, he cuts.  2.5 - 2.5 seconds, he bakes."), ("start-not-before-end",)),
    (asked("The given query happens in 50.0 - 10.0 seconds."), ("beyond-end", "start-not-before-end")),
    (asked("The given query happens in 1.0 - 5.0 seconds."), ("duplicate",)),
    (asked("Yes.", "gone.mp4"), ("missing", "duplicate")),
]
# Known only with a tokenizer.
LONG = [
    (asked("He cuts it. " * 400, question="And then?"), ("too-long",)),
    (asked("Yes.", question="Does he cut it, or not? " * 400), ("nothing-to-learn",)),
]


def plant(folder: Path, items: list[tuple[Any, tuple[str, ...]]]) -> Planted:
    """Write the annotations and the videos."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    write_video(videos / GOOD, frames=60)
    write_video(videos / "short.mp4", frames=5)
    cut = write_video(videos / "cut.mp4", frames=60, faststart=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    (videos / "pointer.mp4").write_bytes(MARK + b"\noid sha256:0\nsize 123456789\n")
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("<html>not found</html>")
    (videos / "folder.mp4").mkdir()
    annotations = write_json(folder / "train.json", [item for item, _ in items])
    return Planted(annotations, videos, tuple(faults for _, faults in items))
