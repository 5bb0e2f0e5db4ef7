"""What a source of annotations is: its names, where its videos usually are, and how its file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from timechat.data.reading import Found


@dataclass(frozen=True)
class Asked:
    """What is asked of a source.

    Attributes:
        task: which of its tasks.
        split: which of its splits; "" where it has none.
        text_only: whether items without a video or picture are kept.
    """

    task: str
    split: str = ""
    text_only: bool = False


@dataclass(frozen=True)
class Source:
    """A collection, as it is downloaded.

    Attributes:
        name: on the command line.
        words: what IN is, one line, for the help.
        read: (file or folder, what is asked) -> its records, and what is broken or left out; raises AnnotationError
            where nothing can be read.
        videos: task -> the usual path of a video, with marks: {path}, the video as the file names it; {id}, the same
            without a suffix; {split}; and others that its records have. The first task is the default.
        splits: that it has, the default first.
        as_it_is: name of the benchmark that reads the download without conversion; "" if there is none.
        folder: whether IN must be a folder.
    """

    name: str
    words: str
    read: Callable[[Path, Asked], Iterator[Found]]
    videos: Mapping[str, str]
    splits: tuple[str, ...] = ()
    as_it_is: str = ""
    folder: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks, the default first."""
        return tuple(self.videos)
