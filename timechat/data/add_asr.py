"""Instructions and transcripts -> instructions with what is said in the videos, in TimeIT's form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from timechat.data.writing import check_outputs, item_writer, json_of
from timechat.datasets.annotations import check_entry, raise_listed
from timechat.datasets.entries import iter_entries
from timechat.errors import ConfigError
from timechat.evaluation.transcripts import (
    Sentence,
    choose_sentences,
    find_transcript,
    read_transcript,
    speech_prompt,
    without_speech,
)
from timechat.wording import counted

_MARK = "<video>\n"  # of LLaVA's first turn


@dataclass
class Added:
    """What became of the items.

    Attributes:
        spoken: items that have speech now; `had`: those that had it before, and are kept.
        silent: items in whose video nothing is said.
        without: videos without a transcript, in order; `items_without`: their items, which are kept as they are.
    """

    spoken: int = 0
    had: int = 0
    silent: int = 0
    items_without: int = 0
    without: dict[str, None] = field(default_factory=dict)


def add_speech(annotations: Path, transcripts: Path, output: Path) -> Added:
    """Put at most 15 sentences, spread evenly over the video, before the first question of each item.

    Args:
        annotations: a JSON list, or JSON lines.
        transcripts: folder of them, at the place of each video without its suffix, or all side by side.
        output: .json, a list, or .jsonl, one item a line.

    Raises:
        AnnotationError: an item or a transcript is broken.
        ConfigError: the output is the input, or there is no folder of transcripts.
    """
    if not transcripts.is_dir():
        raise ConfigError(f"--asr {transcripts}: no such folder")
    check_outputs([annotations], [output])
    added = Added()
    with item_writer(output) as write:
        for entry in _spoken(annotations, transcripts, added):
            write(json_of(entry))
    return added


def _spoken(annotations: Path, transcripts: Path, added: Added) -> Iterator[dict[str, Any]]:
    """The items with their speech, counted. Raises AnnotationError, behind the last one for broken items."""
    problems: list[str] = []
    known: tuple[str, list[Sentence] | None] = ("", None)  # items about one video mostly follow each other
    for number, entry in enumerate(tqdm(iter_entries(annotations, "video"), unit=" items", disable=None)):
        item, wrong = check_entry(entry, number, transcripts)
        problems += [f"item {number}: {problem}" for problem in wrong]
        if item is None:
            continue
        if item.path != known[0]:
            place = find_transcript(transcripts, item.path)
            said = None if place is None else choose_sentences(read_transcript(place), None, None)
            known = item.path, said
        yield _with_speech(entry, item.path, item.qa[0]["q"], known[1], added)
    raise_listed(annotations, problems)


def _with_speech(
    entry: dict[str, Any], video: str, question: str, said: list[Sentence] | None, added: Added
) -> dict[str, Any]:
    if without_speech(question) != question:
        added.had += 1
        return entry
    if said is None:
        added.items_without += 1
        added.without[video] = None
        return entry
    if not said:
        added.silent += 1
        return entry
    added.spoken += 1
    prompt = speech_prompt(question, said)
    if "QA" in entry:
        first, *others = entry["QA"]
        return {**entry, "QA": [{**first, "q": prompt}, *others]}
    first, *others = entry["conversations"]
    return {**entry, "conversations": [{**first, "value": _MARK + prompt}, *others]}


def describe(added: Added, output: Path) -> Iterator[str]:
    """What became of it, for people."""
    yield f"{output}: {counted(added.spoken, 'item')} with speech, {added.silent:,} in whose video nothing is said"
    if added.had:
        yield f"{counted(added.had, 'item')} had speech already, which stays"
    if added.without:
        videos, first = counted(len(added.without), "video has", "videos have"), next(iter(added.without))
        items = counted(added.items_without, "item has", "items have")
        yield f"{videos} no transcript, such as {first}: {items} no speech"
