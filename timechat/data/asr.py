"""Videos -> what is said in them: one file for each, a line for each sentence, `start<TAB>end<TAB>text`, seconds.

Times are on the clock of the video's frames. `timechat data add-asr` puts the sentences before instructions, and
`timechat evaluate --asr` before questions.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

from timechat.data.sound import sound_of
from timechat.datasets.shards.index import VIDEO_SUFFIXES
from timechat.errors import ConfigError, TimeChatError, VideoError
from timechat.evaluation.transcripts import Sentence, read_transcript
from timechat.io import remove_left_overs, write_text
from timechat.wording import counted

logger = logging.getLogger(__name__)

SUFFIX = ".tsv"
FAILED = "failed.txt"  # videos that could not be transcribed, and why
PAUSE_S = 1.0  # without a word, behind which another sentence begins
MIN_WORDS = 3  # of a sentence; shorter ones are mostly noise that was taken for speech

# Sound, float32 [N] of 16 kHz -> sentences in order of time, seconds from its first sample.
Engine = Callable[[NDArray[Any]], Iterable[Sentence]]


@dataclass(frozen=True)
class Transcribed:
    """What became of some videos.

    Attributes:
        written: files; `silent`: those of them without a sentence, because there is no sound or no speech.
        found: files that were there already.
        sentences: written; `dropped`: too short, or repeated.
        failed: videos that could not be read, each with the reason.
        seconds: it took.
    """

    written: int
    silent: int
    found: int
    sentences: int
    dropped: int
    failed: Mapping[str, str]
    seconds: float


def whisper(model: str, *, language: str | None, device: str, compute_type: str, workers: int) -> Engine:
    """faster-whisper as an engine.

    Args:
        model: folder of a model for CTranslate2; or the name of one, such as `small.en`, which is downloaded if it is
            not in the hub's cache.
        language: such as `en`; None: it is detected, for each video.
        device: auto | cpu | cuda.
        compute_type: such as int8, float16 or default.
        workers: how many videos are transcribed side by side.

    Raises:
        ConfigError: it is not installed, or there is no such model.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ConfigError(f"transcribing needs faster-whisper ({error}): pip install 'timechat[asr]'") from error
    if os.sep in model and model.startswith((os.sep, ".", "~")) and not os.path.isdir(model):
        raise ConfigError(f"--model {model}: no such folder; give that of a model for CTranslate2, or a model's name")
    try:
        loaded = WhisperModel(model, device=device, compute_type=compute_type, num_workers=workers)
    except (OSError, ValueError, RuntimeError) as error:  # of the hub, of the name, of CTranslate2
        raise ConfigError(f"--model {model}: cannot be loaded ({type(error).__name__}: {error})") from error

    def transcribe(samples: NDArray[Any]) -> Iterator[Sentence]:
        segments, _ = loaded.transcribe(samples, language=language, vad_filter=True, word_timestamps=True)
        for segment in segments:
            yield from _sentences(segment)

    return transcribe


def _sentences(segment: Any) -> Iterator[Sentence]:
    """A segment of faster-whisper, divided at pauses: it takes them out before it listens, and so may join what is
    said before and after a minute of silence."""
    said: list[list[Any]] = []
    for word in segment.words:
        if not said or word.start - said[-1][-1].end > PAUSE_S:
            said.append([])
        said[-1].append(word)
    for words in said:
        yield Sentence(float(words[0].start), float(words[-1].end), "".join(word.word for word in words))


def transcribe(videos: Path, output: Path, engine: Engine, workers: int = 1) -> Transcribed:
    """Write the transcripts of all videos in and below a folder that have none yet, at the same places below `output`.

    Raises:
        ConfigError: there is no video, or two of them would have one transcript.
    """
    started = time.monotonic()
    places = _places(videos, output)
    remove_left_overs(places.values())
    left = {video: place for video, place in places.items() if not _is_there(place)}
    failed: dict[str, str] = {}
    counts: list[tuple[int, int]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            tasks = {pool.submit(_transcribe_one, video, place, engine): video for video, place in left.items()}
            with tqdm(total=len(places), initial=len(places) - len(left), unit="video", disable=None) as bar:
                for task in as_completed(tasks):
                    try:
                        counts.append(task.result())
                    except (VideoError, OSError) as error:
                        failed[str(tasks[task].relative_to(videos))] = getattr(error, "reason", str(error))
                    bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_text(output / FAILED, "".join(f"{video}\t{reason}\n" for video, reason in sorted(failed.items())))
    return Transcribed(
        written=len(counts),
        silent=sum(not kept for kept, _ in counts),
        found=len(places) - len(left),
        sentences=sum(kept for kept, _ in counts),
        dropped=sum(dropped for _, dropped in counts),
        failed=failed,
        seconds=time.monotonic() - started,
    )


def _is_there(place: Path) -> bool:
    """Whether a transcript is there and can be read. An empty one is whole: nothing is said."""
    try:
        read_transcript(place)
    except (TimeChatError, OSError):
        return False
    return True


def _places(videos: Path, output: Path) -> dict[Path, Path]:
    """The transcript of each video. Raises ConfigError."""
    if not videos.is_dir():
        raise ConfigError(f"{videos}: no such folder of videos")
    found = sorted(path for path in videos.rglob("*") if path.suffix.lower()[1:] in VIDEO_SUFFIXES and path.is_file())
    if not found:
        raise ConfigError(f"{videos}: holds no video")
    places: dict[Path, Path] = {}
    for video in found:
        place = output / video.relative_to(videos).with_suffix(SUFFIX)
        if place in places:
            raise ConfigError(f"{places[place]} and {video} would have one transcript, {place}; rename or remove one")
        places[place] = video
    return {video: place for place, video in places.items()}


def _transcribe_one(video: Path, place: Path, engine: Engine) -> tuple[int, int]:
    """Write one transcript; how many sentences it has, and how many were dropped. Raises VideoError, OSError."""
    sound = sound_of(video)
    said = [] if sound is None else list(engine(sound.samples))
    start = 0.0 if sound is None else sound.start
    kept = clean([Sentence(start + s.start, start + s.end, s.text) for s in said])
    write_text(place, "".join(f"{s.start:.2f}\t{s.end:.2f}\t{s.text}\n" for s in kept))
    return len(kept), len(said) - len(kept)


def clean(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Without sentences of fewer than `MIN_WORDS` words, and without those that repeat the one before.

    Words are what blanks divide. Times are put in order: none is negative, and no end before its start.
    """
    kept: list[Sentence] = []
    before = ""
    for sentence in sentences:
        text = " ".join(sentence.text.split())
        same = "".join(letter for letter in text.casefold() if letter.isalnum())
        if len(text.split()) >= MIN_WORDS and same != before:
            begin = max(0.0, sentence.start)
            kept.append(Sentence(begin, max(begin, sentence.end), text))
            before = same
    return kept


def describe(done: Transcribed, output: Path) -> Iterator[str]:
    """What became of it, for people."""
    yield (
        f"{counted(done.written, 'transcript')} with {counted(done.sentences, 'sentence')} in {output} "
        f"({done.silent:,} without speech; {counted(done.dropped, 'sentence')} dropped; "
        f"{counted(done.found, 'transcript was', 'transcripts were')} there already; {done.seconds:.1f} s)"
    )
    if done.failed:
        yield f"{counted(len(done.failed), 'video')} failed: {output / FAILED}"
