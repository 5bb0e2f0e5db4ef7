"""An answer as a file for other programs: JSON, chapters for a player, a table for a page, and clips."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from timechat.app.answer import Answer, Segment
from timechat.data.copying import copy_or_rewrite
from timechat.data.frame_plan import Part
from timechat.data.rewriting import VideoJob
from timechat.datasets.readers.base import check_file
from timechat.datasets.readers.look import look_at
from timechat.datasets.timeline import video_duration
from timechat.errors import ConfigError, VideoError
from timechat.evaluation.event_rows import readable
from timechat.evaluation.tables import MISSING, markdown_table
from timechat.io import json_text, replacing, write_text

logger = logging.getLogger(__name__)

MOMENT_S = 2.0  # how long a moment is shown: as long as QVHighlights' clips
COLUMNS = ("start", "end", "text", "score")


def to_json(answer: Answer, question: str, video: str | os.PathLike[str]) -> str:
    """One JSON object with an indent: video, question, text, segments, seconds of the frames.

    Args:
        answer: what was said.
        question: as it was asked.
        video: its path, for whoever reads the file later.
    """
    return json_text({"video": os.fspath(video), "question": question, **answer.to_dict()}, indent=2) + "\n"


def to_srt(answer: Answer) -> str:
    """Chapters as SubRip: one cue for each segment, in order of time; they may overlap.

    A segment without a caption gets its times as its text. Nothing at all for an answer without segments.
    """
    cues = []
    for number, segment in enumerate(sorted(answer.segments, key=lambda segment: segment.start), start=1):
        start, end = extent(segment)
        cues.append(f"{number}\n{_clock(start)} --> {_clock(end)}\n{_cue(segment)}\n")
    return "\n".join(cues)


def to_markdown(answer: Answer) -> str:
    """A table with a row for each segment, as in the answer."""
    return markdown_table(COLUMNS, [segment_row(segment) for segment in answer.segments])


def segment_row(segment: Segment) -> list[str]:
    """The cells of a segment in a table with `COLUMNS`."""
    score = MISSING if segment.score is None else f"{segment.score:g}"
    return [f"{segment.start:.1f}", f"{segment.end:.1f}", segment.text or MISSING, score]


def save_answer(path: str | os.PathLike[str], answer: Answer, question: str, video: str | os.PathLike[str]) -> None:
    """Write an answer into a file, in the format that its suffix names.

    Args:
        path: .json, .srt or .md.
        answer, question, video: as for `to_json`.

    Raises:
        ConfigError: another suffix, or an SRT of an answer without segments.
        OSError: the file cannot be written.
    """
    writers: dict[str, Callable[[], str]] = {
        ".json": lambda: to_json(answer, question, video),
        ".srt": lambda: to_srt(answer),
        ".md": lambda: to_markdown(answer),
    }
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise ConfigError(f"{path}: cannot save as {suffix or 'a file without a suffix'}; name a .json, .srt or .md")
    if suffix == ".srt" and not answer.segments:
        raise ConfigError(f"{path}: the answer names no part of the video, so there are no chapters to save")
    write_text(Path(path), writers[suffix]())


def save_conversation(
    path: str | os.PathLike[str], answered: Sequence[tuple[str, Answer]], video: str | os.PathLike[str]
) -> None:
    """Write all answers about a video into a file; of chapters, which follow one another, the last answer's.

    Args:
        path: .json, one object with a list of answers; .md, a heading and a table for each; or .srt.
        answered: questions and their answers, at least one, oldest first.
        video: as for `to_json`.

    Raises:
        ConfigError, OSError: as for `save_answer`.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        answers = [{"question": question, **answer.to_dict()} for question, answer in answered]
        write_text(Path(path), json_text({"video": os.fspath(video), "answers": answers}, indent=2) + "\n")
    elif suffix == ".md":
        write_text(Path(path), "\n".join(_chapter(question, answer) for question, answer in answered))
    else:
        question, answer = answered[-1]
        save_answer(path, answer, question, video)


def _chapter(question: str, answer: Answer) -> str:
    table = f"\n{to_markdown(answer)}\n" if answer.segments else ""
    return f"## {readable(question)}\n\n{answer.text}\n{table}"


def extent(segment: Segment) -> tuple[float, float]:
    """Start and end of what is shown for a segment, seconds: a moment gets `MOMENT_S`."""
    return segment.start, segment.end if segment.end > segment.start else segment.start + MOMENT_S


def cut_clips(
    video_path: str | os.PathLike[str], segments: Sequence[Segment], folder: str | os.PathLike[str]
) -> list[Path]:
    """Cut each segment out of the video, without encoding it anew where that is possible.

    Segments that begin after the end of the video, which models name at times, are left out, and the log says so.

    Args:
        video_path: the video.
        segments: of an answer.
        folder: where the MP4 files go, named `VIDEO_NUMBER_START-END.mp4`; it is created if it is missing.

    Returns:
        The files, in order of the segments.

    Raises:
        VideoError: the video is missing or damaged, or not one segment is in it.
        OSError: the folder cannot be written to.
    """
    source, paths = os.fspath(video_path), []
    check_file(source, "video")
    look = look_at(source)
    length = video_duration(look.spans(), look.fps)
    for number, segment in enumerate(segments, start=1):
        start, end = extent(segment)
        if start >= length:
            logger.warning("%s: lasts %.1f s; there is no clip from %.1f s to %.1f s", source, length, start, end)
            continue
        path = Path(folder) / f"{Path(source).stem}_{number:02d}_{start:.1f}-{end:.1f}.mp4"
        job = VideoJob(source, str(path), Part(max(0.0, start), end))
        with replacing(path) as temporary:
            copy_or_rewrite(job, look, temporary)
        paths.append(path)
    if segments and not paths:
        raise VideoError(source, f"lasts {length:.1f} s; all {len(segments)} segments begin after that.")
    return paths


def _clock(seconds: float) -> str:
    """As SubRip writes times: 00:01:02,500."""
    rest, milliseconds = divmod(round(max(0.0, seconds) * 1000), 1000)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d},{milliseconds:03d}"


def _cue(segment: Segment) -> str:
    """One line: an empty one would end the cue, and an arrow would begin another."""
    times = f"{segment.start:.1f} s" if segment.end == segment.start else f"{segment.start:.1f} - {segment.end:.1f} s"
    text = readable(segment.text).replace("-->", "→") or times
    return text if segment.score is None else f"{text} ({segment.score:g})"
