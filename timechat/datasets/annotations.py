"""Instruction annotation files -> checked items.

An item is `{"video": path, "QA": [{"q": ..., "a": ...}, ...]}` (TimeIT, Valley) or has LLaVA's `conversations`; images
have the key `image`. A file is a JSON list of items, or has one item a line (JSON lines). The whole file is checked
when it is read, and all its problems are listed at once.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.datasets.clip_names import clip_of
from timechat.datasets.entries import in_words, iter_entries, iter_rows
from timechat.errors import AnnotationError, SampleError
from timechat.text.tokenizers import IMAGE_TOKEN
from timechat.wording import counted

logger = logging.getLogger(__name__)

MAX_LISTED = 10
CAPTION_QUESTION = "Describe what happens in this video."

_MEDIA_MARK = re.compile(r"\s*<(?:video|image)>\s*")


@dataclass(frozen=True)
class Item:
    """One entry of an annotation file: a path below `videos_dir` and its question-answer turns.

    Attributes:
        source: the collection that the file belongs to, if the annotation says it, as TimeIT's merged file does.
        start, end: seconds of the clip that the turns are about; None: the whole file.
        number: its position in the file, from zero; None for an item that comes from nowhere.
    """

    path: str
    qa: tuple[dict[str, str], ...]
    source: str = ""
    start: float | None = None
    end: float | None = None
    number: int | None = dataclasses.field(default=None, compare=False)


def read_instructions(
    path: str | Path,
    videos_dir: str | Path,
    media: str = "video",
    left_out: Collection[int] = (),
    text_only: str = "error",
) -> list[Item]:
    """Read and check a TimeIT, Valley or LLaVA annotation file.

    Args:
        path: a JSON list, or JSON lines.
        videos_dir: paths in the file must stay inside it.
        media: the key of the path, `video` or `image`.
        left_out: numbers of items that are not wanted, and not checked.
        text_only: what becomes of items with neither video nor image: error, drop, or train: with the path "".

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    items, problems, alone = [], [], 0
    for number, entry in enumerate(iter_entries(path, media)):
        if number in left_out:
            continue
        text = text_only != "error" and _is_text_alone(entry)
        alone += text
        if text and text_only == "drop":
            continue
        item, found = check_entry({**entry, media: "text"} if text else entry, number, videos_dir, media)
        problems += [f"item {number}: {problem}" for problem in found]
        items += [dataclasses.replace(item, path="") if text else item] if item else []
    if alone:
        logger.info("%s: %s text alone; text_only=%s", path, counted(alone, "item is", "items are"), text_only)
    raise_listed(path, problems)
    _must_have_some(path, items, left_out, "the list is empty")
    if cut := sum(item.end is not None for item in items):
        logger.info(
            "%s: %d of %s with the whole video in `video`, which is read from the start to the end that v_id names; "
            "timechat data clip cuts such clips once",
            path, cut, counted(len(items), "item"),
        )  # fmt: skip
    return items


def _is_text_alone(entry: Any) -> bool:
    return isinstance(entry, Mapping) and not {"video", "image"} & entry.keys()


def check_entry(entry: Any, number: int, videos_dir: str | Path, media: str = "video") -> tuple[Item | None, list[str]]:
    """An entry of a file as an item, or what is wrong with it.

    Args:
        entry: as JSON gives it.
        number: its position in the file, from zero.
        videos_dir: its path must stay inside it.
        media: the key of the path, `video` or `image`.
    """
    if found := list(_problems_of(entry, videos_dir, media)):
        return None, found
    source = entry.get("source")
    named = sys.intern(source) if isinstance(source, str) else ""
    clip = clip_of(entry)
    start, end = (clip.start, clip.end) if clip else (None, None)
    return Item(entry[media], tuple(_turns(entry)), named, start, end, number), []


def entry_of_row(row: Mapping[str, str | None]) -> dict[str, Any]:
    """A row of WebVid's CSV as an entry of a JSON list."""
    relative = os.path.join(row["page_dir"] or "", f"{row['videoid']}.mp4") if row["videoid"] else ""
    return {"video": relative, "QA": [{"q": CAPTION_QUESTION, "a": row["name"]}]}


def _must_have_some(path: str | Path, items: Sequence[Item], left_out: Collection[int], empty: str) -> None:
    if not items:
        why = f"all of {counted(len(left_out), 'item')} left out by build_info.manifest" if left_out else empty
        raise AnnotationError(f"{path}: {why}; training needs at least one item")


def read_captions(path: str | Path, videos_dir: str | Path, left_out: Collection[int] = ()) -> list[Item]:
    """Read WebVid's CSV (columns videoid, page_dir, name): each caption answers one fixed question.

    Args:
        path: the file.
        videos_dir: paths in the file must stay inside it.
        left_out: numbers of rows that are not wanted, and not checked.

    Raises:
        AnnotationError: naming the file, the row, the column and the fix.
    """
    items, problems = [], []
    for number, row in enumerate(iter_rows(path)):
        if number not in left_out:
            item, found = check_entry(entry_of_row(row), number, videos_dir)
            problems += [f"row {number}: {problem}" for problem in found]
            items += [item] if item else []
    raise_listed(path, problems)
    _must_have_some(path, items, left_out, "has no rows")
    return items


def raise_listed(path: str | Path, problems: Sequence[str]) -> None:
    """Raise AnnotationError with the first problems and how many more there are; return if there are none."""
    if problems:
        rest = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        listed = "\n  ".join(problems[:MAX_LISTED])
        these = "this item" if len(problems) == 1 else "these items"
        raise AnnotationError(
            f"{path}: {counted(len(problems), 'problem')}, correct or remove {these}:\n  {listed}{rest}"
        )


def _problems_of(entry: Any, videos_dir: str | Path, media: str) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"expected an object with {media} and QA, found {str(entry)[:60]!r}"
        return
    path = entry.get(media)
    if isinstance(path, int | float) and not isinstance(path, bool):
        yield f'{media} is {in_words(path)}: it must be a path relative to {videos_dir}, such as "{path}.mp4"'
    elif not isinstance(path, str) or not path:
        found = in_words(path) if media in entry else "missing"
        yield f"{media} is {found}: it must be a path relative to {videos_dir}"
    elif not inside(path, videos_dir):
        yield f"{media} {path!r} points outside of videos_dir {videos_dir}"
    if (clip := clip_of(entry)) and not clip.start < clip.end:
        yield f"v_id {entry['v_id']!r} names a clip from {clip.start:g} s to {clip.end:g} s, which is empty"
    yield from _problems_of_turns(entry)


def _problems_of_turns(entry: Mapping[str, Any]) -> Iterator[str]:
    if "QA" not in entry and "conversations" not in entry:
        yield "QA is missing: it must be a list of {q, a}"
        return
    name = "QA" if "QA" in entry else "conversations"
    if not isinstance(entry[name], list):
        fix = "; write [{...}], although it is only one" if isinstance(entry[name], Mapping) else ""
        yield f"{name} is {in_words(entry[name])}: it must be a list{fix}"
        return
    if name == "conversations":
        yield from _wrong_speakers(entry[name])
    if not entry[name]:
        yield f"{name} is empty: it must have at least one question and answer"
    for label, text in _texts(entry):
        if problem := _problem_of_text(text):
            yield f"{label} {problem}"


def _texts(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each question and answer with its place in the item; `_Missing` in place of one that is not there."""
    if "QA" not in entry:
        turns = entry["conversations"]
        for i, turn in enumerate([*turns, {}] if len(turns) % 2 else turns):
            text = _field(turn, "value")
            yield f"conversations[{i}].value", _MEDIA_MARK.sub("", text) if isinstance(text, str) else text
        return
    for i, turn in enumerate(entry["QA"]):
        if isinstance(turn, Mapping):
            yield from ((f"QA[{i}].{field}", _field(turn, field)) for field in ("q", "a"))
        else:
            yield f"QA[{i}]", _Missing(f"is {in_words(turn)}: it must be an object with q and a")


@dataclass(frozen=True)
class _Missing:
    """In place of a text: why there is none."""

    reason: str


def _field(turn: Any, field: str) -> Any:
    if isinstance(turn, Mapping) and field in turn:
        return turn[field]
    keys = f", the keys are {', '.join(map(str, turn))}" if isinstance(turn, Mapping) and turn else ""
    return _Missing(f"is missing{keys}: it must be text")


def _problem_of_text(text: Any) -> str | None:
    """What is wrong with a question or an answer, to be written behind its place."""
    if isinstance(text, _Missing):
        return text.reason
    if not isinstance(text, str):
        number = isinstance(text, int | float) and not isinstance(text, bool)
        return f"is {in_words(text)}: it must be text" + (f'; write "{text}"' if number else "")
    if not text.strip():
        return "is empty: it must be text"
    if IMAGE_TOKEN in text:
        return f"contains {IMAGE_TOKEN}, the placeholder of video tokens: remove it"
    if not _is_unicode(text):
        return "contains half of a surrogate pair, which is not a character: correct the text"
    return None


def _wrong_speakers(conversation: Sequence[Any]) -> Iterator[str]:
    """LLaVA's turns must alternate: with the speakers swapped, the model would learn to ask instead of to answer."""
    for i, turn in enumerate(conversation):
        speaker, wanted = turn.get("from") if isinstance(turn, Mapping) else None, ("human", "gpt")[i % 2]
        if speaker != wanted:
            found = repr(str(speaker)[:20])
            yield f"conversations[{i}].from is {found}: turns must alternate, human first; expected {wanted!r}"


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON may contain halves of surrogate pairs, which tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def inside(path: str, videos_dir: str | Path) -> bool:
    """Whether a relative path stays below a folder, judged by its text: links inside the folder are the user's."""
    base = os.path.abspath(videos_dir)
    return "\0" not in path and os.path.commonpath([base, os.path.abspath(os.path.join(base, path))]) == base


def turns_of(entry: Any, where: str) -> tuple[dict[str, str], ...]:
    """The checked turns {q, a} of an item whose video is known already.

    Args:
        entry: as JSON gives it.
        where: it comes from, for messages.

    Raises:
        SampleError: naming all fields that are wrong, and the fix.
    """
    if not isinstance(entry, Mapping):
        raise SampleError(f"{where}: its annotation is {in_words(entry)}: it must be an object with QA")
    if problems := list(_problems_of_turns(entry)):
        raise SampleError(f"{where}: {'; '.join(problems)}")
    return tuple(_turns(entry))


def _turns(entry: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The turns of a checked item as {q, a}; LLaVA's alternate between human and gpt and carry a `<video>` mark."""
    if "QA" in entry:
        for turn in entry["QA"]:
            yield {"q": turn["q"], "a": turn["a"]}
        return
    texts = [_MEDIA_MARK.sub("", turn["value"]) for turn in entry["conversations"]]
    for question, answer in zip(texts[::2], texts[1::2], strict=True):
        yield {"q": question, "a": answer}
