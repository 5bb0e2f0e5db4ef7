"""YT-Temporal-180M: what is said, and when.

IN is the published metadata, JSON lines `{"info": {"id" or "display_id", ...}, "subtitles": [{"word", "time"}, ...],
"denoised"}`, or, as TimeIT was made, a folder of transcripts: VIDEO.txt with `start<tab>end<tab>text` a line, or those
of `timechat data asr` and Whisper, VIDEO.tsv. Words are joined to sentences that end where nothing is said for a
second, or after 20 words; the denoised text has no times and is not used. At most 15 sentences are kept, spread evenly,
as in TimeIT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from timechat.data.asr import FAILED, SUFFIX
from timechat.data.reading import (
    BadPart,
    Found,
    an_object,
    duration_of,
    json_rows,
    list_of,
    number_of,
    parse,
    text_lines,
    text_of,
    window_of,
)
from timechat.data.records import Event, Events
from timechat.data.sources.contract import Asked, Source
from timechat.errors import AnnotationError
from timechat.evaluation.transcripts import read_transcript

MOST_SENTENCES = 15
MOST_WORDS = 20
PAUSE_S = 1.0
LAST_WORD_S = 0.5  # how long a word is taken to last that no other one follows

T = TypeVar("T")


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each video."""
    if path.is_dir():
        files = sorted(file for kind in ("*.txt", f"*{SUFFIX}") for file in path.glob(kind) if file.name != FAILED)
        if not files:
            raise AnnotationError(f"{path}: holds no transcripts VIDEO.txt or VIDEO{SUFFIX}")
        return parse(((file.name, file) for file in files), _transcript)
    return parse(json_rows(path), _metadata)


def _transcript(where: str, file: Path) -> Events:
    if file.suffix == SUFFIX:
        events = tuple(_events_of(file))
    else:
        events = tuple(_spoken(place, line) for place, line in text_lines(file))
    if not events:
        raise BadPart("is empty: nothing is said")
    return Events(where, file.stem, spread(events, MOST_SENTENCES))


def _events_of(file: Path) -> Iterator[Event]:
    try:
        sentences = read_transcript(file)
    except AnnotationError as error:
        raise BadPart(str(error)) from error
    for sentence in sentences:
        yield Event(*window_of([sentence.start, sentence.end], file.name), sentence.text)


def _spoken(place: str, line: str) -> Event:
    start, _, rest = line.partition("\t")
    end, _, text = rest.partition("\t")
    try:
        times = [float(start), float(end)]
    except ValueError:
        raise BadPart(f"{place}: expected start, end and text with tabs between them, found {line[:60]!r}") from None
    return Event(*window_of(times, place), text_of({place: text}, place))


def _metadata(where: str, part: Any) -> Events:
    row = an_object(part)
    info = an_object(row.get("info"))
    video = text_of(info, "id" if "id" in info else "display_id")
    words = [an_object(word) for word in list_of(row, "subtitles")]
    spoken = [(number_of(word.get("time"), "time"), text_of(word, "word")) for word in words]
    if any(first[0] > second[0] for first, second in pairwise(spoken)):
        raise BadPart("subtitles are not in the order of their times")
    return Events(where, video, spread(_sentences(spoken), MOST_SENTENCES), duration=duration_of(info))


def _sentences(spoken: Sequence[tuple[float, str]]) -> list[Event]:
    """Words with their times -> sentences; a word lasts until the next one, if that follows within PAUSE_S."""
    sentences: list[list[tuple[float, str]]] = []
    for time, word in spoken:
        if not sentences or time - sentences[-1][-1][0] > PAUSE_S or len(sentences[-1]) == MOST_WORDS:
            sentences.append([])
        sentences[-1].append((time, word))
    followers = [sentence[0][0] for sentence in sentences[1:]] + [float("inf")]
    return [
        Event(said[0][0], min(said[-1][0] + LAST_WORD_S, after), " ".join(word for _, word in said))
        for said, after in zip(sentences, followers, strict=True)
    ]


def spread(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most so many items, evenly spread from the first one on."""
    if len(items) <= most:
        return tuple(items)
    return tuple(items[number * len(items) // most] for number in range(most))


SOURCE = Source(
    "yttemporal",
    "its metadata (JSON lines), or a folder of transcripts (VIDEO.txt, or VIDEO.tsv of `timechat data asr`)",
    read,
    {"transcription": "yttemporal180m/videos/{id}.mp4"},
)
