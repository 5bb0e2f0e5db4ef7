"""Transcribed speech for prompts: SubRip (.srt), WebVTT (.vtt), Whisper's .json and .tsv -> sentences -> a prompt.

The prompt has the form that TimeIT's instructions with speech have, so that a model trained on these knows it:

    Transcribed speech: 0.0 - 3.2 seconds, hello there. 3.2 - 5.0 seconds, ... Based on the video content and possible
    transcribed speech, PROMPT

Times are in seconds from the start of the clip that is asked about, like those of its frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.benchmarks.annotations import is_number
from timechat.lfs import refuse_pointer

logger = logging.getLogger(__name__)

MAX_SENTENCES = 15
TOUCHING_S = 0.1  # seconds between two cues above which there is a pause
_BEFORE, _BEHIND = "Transcribed speech: ", " Based on the video content and possible transcribed speech, "
SUFFIXES = (".json", ".srt", ".vtt", ".tsv")  # Whisper writes all four at once; they say the same

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIME_LINE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_MILLISECONDS = "start\tend\ttext"  # the first line of Whisper's .tsv; `timechat data asr` writes seconds, without it
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # <font color=...>, <00:00:01.500>, {\an8}
_VTT_BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")


class Sentence(NamedTuple):
    """What was said from `start` to `end`, seconds: one cue of a subtitle file, one segment of Whisper's."""

    start: float
    end: float
    text: str


class Transcript(NamedTuple):
    """What a file says: its sentences in order of time, and how many of Whisper's segments could not be used."""

    sentences: list[Sentence]
    left_out: int


@dataclasses.dataclass(frozen=True)
class Spoken:
    """Questions with what was said in their videos.

    Attributes:
        questions: in the order given, with new prompts where something was said.
        videos: how many different videos there are.
        without: those that have no transcript, sorted.
        left_out: how many of Whisper's segments could not be used, by video; others are not named.
    """

    questions: list[Question]
    videos: int
    without: list[str]
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)


def add_transcripts(questions: Sequence[Question], folder: str | Path) -> Spoken:
    """Put transcribed speech before the prompts.

    Args:
        questions: as a benchmark makes them.
        folder: holds DIR/VIDEO.json, .srt, .vtt or .tsv, where VIDEO is the video's path without its suffix, or only
            its last part. A video without a transcript is asked about without one, and counted.

    Raises:
        AnnotationError: a transcript that is malformed, naming file and line.
    """
    found: dict[str, Transcript | None] = {}
    spoken = []
    for question in questions:
        if question.video not in found:
            path = find_transcript(Path(folder), question.video, is_folder=question.frame_rate is not None)
            found[question.video] = None if path is None else _read(path)
        said = found[question.video]
        sentences = choose_sentences(said.sentences if said else [], question.start, question.end)
        spoken.append(dataclasses.replace(question, prompt=speech_prompt(question.prompt, sentences)))
    without = sorted(video for video, said in found.items() if said is None)
    left_out = {video: said.left_out for video, said in found.items() if said and said.left_out}
    return Spoken(spoken, len(found), without, left_out)


def find_transcript(folder: Path, path: str, is_folder: bool = False) -> Path | None:
    """The transcript of a video, if there is one.

    Args:
        folder: of the transcripts.
        path: of the video, as annotations name it.
        is_folder: whether the video is a folder of pictures, whose name has no suffix.
    """
    video = Path(path)
    name = video if is_folder else video.with_suffix("")
    stems = (folder / name, folder / name.name)
    paths = (stem.with_name(stem.name + suffix) for stem in stems for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def transcripts_hash(folder: str | Path) -> str:
    """SHA-256 of the names and contents of all transcripts in a folder and below it."""
    digest = hashlib.sha256()
    paths = (path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES and path.is_file())
    for path in sorted(paths):
        name, content = path.relative_to(folder).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()


def choose_sentences(sentences: Sequence[Sentence], start: float | None, end: float | None) -> list[Sentence]:
    """At most `MAX_SENTENCES` of those that touch the clip, spread evenly over them, with times from its start.

    Args:
        sentences: in order of time.
        start, end: of the clip in seconds; None is the video's own.
    """
    left, right = start or 0.0, float("inf") if end is None else end
    inside = [s for s in sentences if s.start < right and s.end > left]
    count = min(len(inside), MAX_SENTENCES)
    chosen = (inside[(2 * i + 1) * len(inside) // (2 * count)] for i in range(count))  # the middle of each share
    return [Sentence(max(s.start, left) - left, min(s.end, right) - left, s.text) for s in chosen]


def speech_prompt(prompt: str, sentences: Sequence[Sentence]) -> str:
    """The prompt with the sentences before it; unchanged when nothing was said."""
    if not sentences:
        return prompt
    said = " ".join(f"{s.start:.1f} - {s.end:.1f} seconds, {_closed(s.text)}" for s in sentences)
    return f"{_BEFORE}{said}{_BEHIND}{prompt}"


def without_speech(prompt: str) -> str:
    """What `speech_prompt` was given, for its result; another prompt is unchanged."""
    return prompt.partition(_BEHIND)[2] if prompt.startswith(_BEFORE) and _BEHIND in prompt else prompt


def _closed(text: str) -> str:
    return text if text[-1] in ".!?" else f"{text}."


# Reading --------------------------------------------------------------------------------------------------------------


def read_transcript(path: str | Path) -> list[Sentence]:
    """The sentences of a transcript, in order of time; cues without text are left out.

    Captions that roll up, as YouTube makes them, show each line three times: each is one sentence here. Segments of
    Whisper's that cannot be used are left out with a warning.

    Raises:
        AnnotationError: no such file, one that is malformed, naming the line, or Whisper's without a usable segment.
    """
    return _read(Path(path)).sentences


def _read(path: Path) -> Transcript:
    """See `read_transcript`."""
    if path.suffix not in SUFFIXES or not path.is_file():
        raise AnnotationError(f"{path}: no such transcript; name a file that ends in {', '.join(SUFFIXES)}")
    refuse_pointer(path, AnnotationError)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text ({error}); convert it") from error
    if path.suffix == ".json":
        found, left_out = _json_sentences(path, text)
    else:
        found, left_out = (_tsv_sentences if path.suffix == ".tsv" else _cue_sentences)(path, text), 0
    cleaned = (Sentence(s.start, s.end, _plain(s.text)) for s in found)
    return Transcript(sorted((s for s in cleaned if s.text), key=lambda s: (s.start, s.end)), left_out)


def _plain(text: str) -> str:
    """Without tags such as <font ...>, entities and line breaks."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())


def _tsv_sentences(path: Path, text: str) -> list[Sentence]:
    """The lines of a file with start, end and text between tabs."""
    lines = text.split("\n")
    whispers = lines[0].strip() == _MILLISECONDS
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not (whispers and number == 1):
            try:
                start, end, said = line.split("\t", 2)
                found.append(Sentence(float(start), float(end), said))
            except ValueError as error:
                raise _wrong_line(path, number, line) from error
            if not 0 <= found[-1].start <= found[-1].end < float("inf"):
                raise _wrong_line(path, number, line)
    return [Sentence(s.start / 1000, s.end / 1000, s.text) for s in found] if whispers else found


def _wrong_line(path: Path, number: int, line: str) -> AnnotationError:
    return AnnotationError(
        f"{path}, line {number}: expected start, end and text with tabs between them, 0 <= start <= end, found "
        f"{line.strip()[:80]!r}; correct the line or remove the file"
    )


def _json_sentences(path: Path, text: str) -> tuple[list[Sentence], int]:
    """The usable segments, and how many are not."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); transcribe it again"
        ) from error
    segments = content.get("segments") if isinstance(content, dict) else None
    if not isinstance(segments, list):
        raise AnnotationError(f'{path}: expected {{"segments": [{{"start", "end", "text"}}]}}; transcribe it again')
    bad = [number for number, segment in enumerate(segments) if not _is_segment(segment)]
    if bad:
        first = f"segments[{bad[0]}] is {str(segments[bad[0]])[:80]!r}: it needs start and end in seconds, "
        first += "0 <= start <= end, and text"
        if len(bad) == len(segments):
            raise AnnotationError(f"{path}: {first}; no segment can be used: transcribe it again")
        logger.warning("%s: %d of %d segments are left out: %s", path, len(bad), len(segments), first)
    usable = (segment for segment in segments if _is_segment(segment))
    return [Sentence(float(s["start"]), float(s["end"]), s["text"]) for s in usable], len(bad)


def _is_segment(segment: Any) -> bool:
    if not isinstance(segment, Mapping) or not isinstance(segment.get("text"), str):
        return False
    start, end = segment.get("start"), segment.get("end")
    return is_number(start) and is_number(end) and 0 <= start <= end


def _cue_sentences(path: Path, text: str) -> list[Sentence]:
    """The cues of a subtitle file, each line once."""
    cues = list(_cues(path, text))
    lines = [[plain for line in cue.text.split("\n") if (plain := _plain(line))] for cue in cues]
    shown = [(cue, said) for cue, said in zip(cues, lines, strict=True) if said]
    repeated = [0, *(_repeated(*pair) for pair in itertools.pairwise(shown))]
    # A word that is said twice is no reason to take it away: only where most cues repeat lines do captions roll up.
    if 2 * sum(map(bool, repeated)) <= len(shown):
        return cues
    news = [(cue, said[count:]) for (cue, said), count in zip(shown, repeated, strict=True)]
    return [Sentence(cue.start, cue.end, "\n".join(new)) for cue, new in news if new]


def _repeated(before: tuple[Sentence, list[str]], after: tuple[Sentence, list[str]]) -> int:
    """How many of the last lines of a cue are the first ones of the next; behind a pause its last line is new."""
    (earlier, old), (later, new) = before, after
    most = min(len(old), len(new) - (later.start - earlier.end > TOUCHING_S))
    return next((count for count in range(most, 0, -1) if old[-count:] == new[:count]), 0)


def _cues(path: Path, text: str) -> Iterator[Sentence]:
    """Cues of SubRip and WebVTT: a line with two times, and the lines of text behind it.

    The number or name of a cue is the only thing on the line before its times; blank lines inside a text are allowed.
    """
    lines = text.split("\n")  # splitlines would count form feeds and the like
    first = _body_start(path, lines)
    cue: tuple[float, float] | None = None
    said: list[str] = []
    skipping = False
    for index in range(first, len(lines)):
        line, after_blank = lines[index], index == first or not lines[index - 1].strip()
        if "-->" in line:
            if cue:
                yield Sentence(*cue, "\n".join(said))
            cue, said, skipping = _cue_times(path, index + 1, line), [], False
        elif path.suffix == ".vtt" and after_blank and _VTT_BLOCK.match(line):
            skipping = True
        elif skipping:
            skipping = bool(line.strip())
        elif line.strip() and not _names_a_cue(path, lines, index, after_blank):
            if cue is None:
                raise _malformed(path, index + 1, line)
            said.append(line)
    if cue:
        yield Sentence(*cue, "\n".join(said))


def _body_start(path: Path, lines: Sequence[str]) -> int:
    """Index of the first line after the header, which only WebVTT has: it ends at the first blank line."""
    if path.suffix != ".vtt":
        return 0
    if not lines or lines[0].split()[:1] != ["WEBVTT"]:
        raise AnnotationError(f"{path}, line 1: a .vtt file starts with WEBVTT; rename or convert the file")
    return next((index for index, line in enumerate(lines) if not line.strip()), len(lines))


def _names_a_cue(path: Path, lines: Sequence[str], index: int, after_blank: bool) -> bool:
    """Whether a line is the number or the name of the cue whose times follow. A number needs times behind it."""
    before_times = index + 1 < len(lines) and "-->" in lines[index + 1]
    number = lines[index].strip().isdecimal()
    if path.suffix == ".srt" and after_blank and number and not before_times:
        raise _malformed(path, index + 2, lines[index + 1] if index + 1 < len(lines) else "")
    return before_times and (number or (after_blank and path.suffix == ".vtt"))


def _cue_times(path: Path, number: int, line: str) -> tuple[float, float]:
    match = _TIME_LINE.fullmatch(line)
    if match is None:
        raise _malformed(path, number, line)
    groups = match.groups()
    start, end = _seconds(*groups[:4]), _seconds(*groups[4:])
    if end < start:
        raise _malformed(path, number, line)
    return start, end


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _malformed(path: Path, number: int, line: str) -> AnnotationError:
    return AnnotationError(
        f"{path}, line {number}: expected times such as 00:00:01,500 --> 00:00:04,000, the end not before the start, "
        f"found {line.strip()[:80]!r}; correct the line or remove the file"
    )
