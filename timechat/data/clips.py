"""Which clips annotations name, and of which videos: HiREST's, Valley's and VATEX's own files, and tables of clips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timechat.data.compress import VIDEO_SUFFIXES, check_apart
from timechat.data.frame_plan import Part
from timechat.data.reading import BadPart, an_object, csv_rows, seconds_of, text_of
from timechat.data.rewriting import FORMATS, VideoJob
from timechat.datasets.annotations import MAX_LISTED, inside, raise_listed
from timechat.datasets.clip_names import named_clip
from timechat.datasets.entries import must_exist, read_json
from timechat.errors import AnnotationError, ConfigError
from timechat.wording import counted

COLUMNS = ("video", "start", "end", "output")

# Tried in this order for a video that has no file under its own name: downloads come in all of them.
_SUFFIXES = (".mp4", ".mkv", ".webm", *sorted(VIDEO_SUFFIXES - {".mp4", ".mkv", ".webm"}))


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        video: the whole video, relative to the folder of videos.
        output: the file of the clip, relative to the folder of clips.
        part: seconds of the video.
        any_suffix: whether the video may have another suffix.
    """

    video: str
    output: str
    part: Part
    any_suffix: bool = True


@dataclass
class Clips:
    """What an annotation file names.

    Attributes:
        clips: by their outputs, each once.
        left_out: how many entries need no clip, by reason.
        problems: what is wrong with others, one line each.
        clashing: outputs of different clips, which are not made.
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    clashing: set[str] = field(default_factory=set)

    def add(self, where: str, clip: Clip) -> None:
        """Take a clip that entry `where` names, or note what is wrong with it."""
        if problem := _problem_of(clip):
            self.problems.append(f"{where}: {problem}")
        elif self.clips.setdefault(clip.output, clip) != clip:
            self.clashing.add(clip.output)
            self.problems.append(f"{where}: {clip.output} is named before, as another clip; neither is cut")

    def lines(self) -> Iterator[str]:
        """For people."""
        for reason, count in self.left_out.items():
            yield f"{counted(count, 'entry needs', 'entries need')} no clip: {reason}"
        if self.problems:
            yield f"wrong, and left out: {len(self.problems):,}"
            yield from (f"  {problem}" for problem in self.problems[:MAX_LISTED])
            if len(self.problems) > MAX_LISTED:
                yield f"  and {len(self.problems) - MAX_LISTED:,} more"

    def jobs(self, videos: Path, output: Path) -> list[VideoJob]:
        """What to make.

        Args:
            videos: the folder of whole videos.
            output: the folder of clips.

        Raises:
            ConfigError: there is no folder of whole videos, or clips would lie among them.
        """
        if not videos.is_dir():
            raise ConfigError(f"{videos}: no such folder of videos")
        jobs = [
            VideoJob(_file(videos / clip.video, clip.any_suffix), str(output / clip.output), clip.part)
            for clip in self.clips.values()
        ]
        check_apart(videos, output, jobs)
        return jobs


def _problem_of(clip: Clip) -> str | None:
    if not 0 <= (clip.part.start or 0.0) < (math.inf if clip.part.end is None else clip.part.end):
        return f"from {clip.part.start:g} s to {clip.part.end:g} s; give 0 <= start < end"
    if Path(clip.output).suffix.lower() not in FORMATS:
        suffixes = ", ".join(sorted(FORMATS.keys() - {""}))
        return f"output {clip.output!r} must end in one of {suffixes}"
    wrong = [name for name in ("video", "output") if not inside(getattr(clip, name), ".")]
    return f"{wrong[0]} {getattr(clip, wrong[0])!r} must be a path inside the folder" if wrong else None


def read_clips(path: Path) -> Clips:
    """The clips of an annotation file: CSV with `COLUMNS`, HiREST's `all_data_*.json`, raw Valley, or VATEX.

    Entries that are wrong are noted, and left out.

    Raises:
        AnnotationError: the file is missing or has another format, or names no clip that can be made.
        FileError: it is a folder, or may not be read.
    """
    found = Clips()
    if path.suffix.lower() in (".csv", ".tsv"):
        _read_table(path, found)
    else:
        content = read_json(path)
        if isinstance(content, Mapping):
            _read_hirest(path, content, found)
        elif isinstance(content, list):
            _read_vatex(content, found)
        else:
            raise AnnotationError(f"{path}: expected the file of HiREST, Valley or VATEX")
    for output in found.clashing:
        del found.clips[output]
    if not found.clips:
        raise_listed(path, found.problems)
        reasons = "; ".join(found.lines())
        raise AnnotationError(f"{path}: names no clip" + (f" ({reasons})" if reasons else ""))
    return found


def _read_table(path: Path, found: Clips) -> None:
    """Rows as `timechat data convert mine` reads them, with an output instead of a sentence."""
    must_exist(path)
    for where, part in csv_rows(path, COLUMNS, times=("start", "end")):
        try:
            row = an_object(part)
            video, output = (text_of(row, name) for name in ("video", "output"))
            start, end = (seconds_of(row[name], name) for name in ("start", "end"))
        except BadPart as bad:
            found.problems.append(f"{where}: {bad}")
        else:
            found.add(where, Clip(video, output, Part(start, end), any_suffix=False))


def _seconds(text: Any) -> float | None:
    try:
        second = float(text)
    except (TypeError, ValueError):
        return None
    return second if math.isfinite(second) else None


def _read_hirest(path: Path, content: Mapping[str, Any], found: Clips) -> None:
    """HiREST: query -> video -> entry. Steps are annotated within `bounds`, and the clip is named ID_START_END.mp4."""
    for query, videos in content.items():
        if not isinstance(videos, Mapping) or not all(isinstance(entry, Mapping) for entry in videos.values()):
            raise AnnotationError(
                f"{path}: {query!r} is no query of HiREST, whose videos have relevant, clip and bounds"
            )
        for video, entry in videos.items():
            if not (entry.get("relevant") and entry.get("clip") and entry.get("steps")):
                found.left_out["without steps"] += 1
                continue
            bounds = entry.get("bounds")
            times = [_seconds(time) for time in bounds] if isinstance(bounds, list) else []
            if len(times) != 2 or None in times:
                found.problems.append(f"{query!r}, {video}: bounds is {bounds!r}; it must be [start, end] in seconds")
                continue
            stem = video.removesuffix(".mp4")
            found.add(f"{query!r}, {video}", Clip(video, f"{stem}_{bounds[0]}_{bounds[1]}.mp4", Part(*times)))


def _read_vatex(content: Sequence[Any], found: Clips) -> None:
    """Valley's `v_id` beside `video`, the whole one; and VATEX's `videoID`."""
    for number, entry in enumerate(content):
        name = entry.get("v_id", entry.get("videoID")) if isinstance(entry, Mapping) else None
        named = named_clip(name)
        if not isinstance(name, str):
            found.problems.append(f"item {number}: has no v_id (Valley) and no videoID (VATEX)")
        elif named is None:
            found.left_out["whole videos"] += 1
        else:
            video = entry.get("video") or f"{named.video}.mp4"
            if not isinstance(video, str):
                found.problems.append(f"item {number}: video is {video!r}; it must be a path")
            elif Path(video).stem.startswith(name):
                found.left_out["clips already"] += 1
            else:
                found.add(f"item {number}", Clip(video, f"{name}.mp4", Part(named.start, named.end)))


def _file(path: Path, any_suffix: bool) -> str:
    if any_suffix and not path.exists():
        others = (path.with_suffix(suffix) for suffix in _SUFFIXES)
        return str(next((other for other in others if other.exists()), path))
    return str(path)
