"""Instruction annotation files -> checked items.

An item is `{"video": path, "QA": [{"q": ..., "a": ...}, ...]}` (TimeIT, Valley) or has LLaVA's `conversations`; images
have the key `image`. The whole file is checked when it is read, and all its problems are listed at once.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.lfs import refuse_pointer
from timechat.text.tokenizers import IMAGE_TOKEN

MAX_LISTED = 10
CAPTION_QUESTION = "Describe what happens in this video."

_MEDIA_MARK = re.compile(r"\s*<(?:video|image)>\s*")


@dataclass(frozen=True)
class Item:
    """One entry of an annotation file: a path below `videos_dir` and its question-answer turns."""

    path: str
    qa: tuple[dict[str, str], ...]


def read_instructions(path: str | Path, videos_dir: str | Path, media: str = "video") -> list[Item]:
    """Read and check a TimeIT, Valley or LLaVA annotation file.

    Args:
        path: a JSON list.
        videos_dir: paths in the file must stay inside it.
        media: the key of the path, `video` or `image`.

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    items, problems = [], []
    for number, entry in enumerate(_read_json_list(Path(path))):
        found = list(_problems_of(entry, videos_dir, media))
        problems += [f"item {number}: {problem}" for problem in found]
        if not found:
            items.append(Item(entry[media], tuple(_turns(entry))))
    raise_listed(path, problems)
    if not items:
        raise AnnotationError(f"{path}: the list is empty; training needs at least one item")
    return items


def read_captions(path: str | Path, videos_dir: str | Path) -> list[Item]:
    """Read WebVid's CSV (columns videoid, page_dir, name): each caption answers one fixed question.

    Raises:
        AnnotationError: naming the file, the row, the column and the fix.
    """
    items, problems = [], []
    for number, row in enumerate(_read_rows(Path(path))):
        relative = os.path.join(row["page_dir"] or "", f"{row['videoid']}.mp4") if row["videoid"] else ""
        entry = {"video": relative, "QA": [{"q": CAPTION_QUESTION, "a": row["name"]}]}
        found = list(_problems_of(entry, videos_dir, "video"))
        problems += [f"row {number}: {problem}" for problem in found]
        if not found:
            items.append(Item(relative, tuple(_turns(entry))))
    raise_listed(path, problems)
    if not items:
        raise AnnotationError(f"{path}: has no rows; training needs at least one")
    return items


def _read_rows(path: Path) -> list[dict[str, str | None]]:
    _must_exist(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"videoid", "page_dir", "name"} - set(reader.fieldnames or [])
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: not a CSV file ({error}); download it again") from error
    if missing:
        raise AnnotationError(f"{path}: lacks the columns {', '.join(sorted(missing))}; expected WebVid's CSV")
    return rows


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise AnnotationError(f"{path}: no such annotation file; correct build_info.anno_dir")
    refuse_pointer(path, AnnotationError)


def _read_json_list(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise AnnotationError(f"{path}: expected a JSON list of items, found a {type(content).__name__}")
    return content


def read_json(path: str | Path) -> Any:
    """The content of a JSON annotation file. Raises AnnotationError."""
    _must_exist(Path(path))
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: bad JSON, bad UTF-8, numbers of thousands of digits
        raise AnnotationError(f"{path}: not valid JSON ({error}); download or write the file again") from error


def raise_listed(path: str | Path, problems: Sequence[str]) -> None:
    """Raise AnnotationError with the first problems and how many more there are; return if there are none."""
    if problems:
        rest = f"\n  and {len(problems) - MAX_LISTED} more" if len(problems) > MAX_LISTED else ""
        listed = "\n  ".join(problems[:MAX_LISTED])
        raise AnnotationError(f"{path}: {len(problems)} problems, correct or remove these items:\n  {listed}{rest}")


def _problems_of(entry: Any, videos_dir: str | Path, media: str) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"expected an object with {media} and QA, found {str(entry)[:60]!r}"
        return
    path = entry.get(media)
    if not isinstance(path, str) or not path:
        yield f"{media} is missing: it must be a path relative to {videos_dir}"
    elif not inside(path, videos_dir):
        yield f"{media} {path!r} points outside of videos_dir {videos_dir}"
    if "QA" not in entry and "conversations" not in entry:
        yield "QA is missing: it must be a list of {q, a}"
        return
    if "QA" not in entry:
        yield from _wrong_speakers(entry["conversations"])
    turns = list(_turns(entry))
    if not turns:
        yield "QA is empty: it must have at least one {q, a}"
    for i, turn in enumerate(turns):
        for field in ("q", "a"):
            if not isinstance(turn.get(field), str) or not turn[field].strip():
                yield f"QA[{i}].{field} is empty: it must be text"
            elif IMAGE_TOKEN in turn[field]:
                yield f"QA[{i}].{field} contains {IMAGE_TOKEN}, the placeholder of video tokens: remove it"
            elif not _is_unicode(turn[field]):
                yield f"QA[{i}].{field} contains half of a surrogate pair, which is not a character: correct the text"


def _wrong_speakers(conversation: Any) -> Iterator[str]:
    """LLaVA's turns must alternate: with the speakers swapped, the model would learn to ask instead of to answer."""
    for i, turn in enumerate(conversation if isinstance(conversation, list) else []):
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


def _turns(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The turns of an item as {q, a}; LLaVA's alternate between human and gpt and carry a `<video>` mark."""
    if "QA" in entry:
        turns = entry["QA"] if isinstance(entry["QA"], list) else []
        for turn in turns:
            yield {k: turn.get(k) for k in ("q", "a")} if isinstance(turn, Mapping) else {}
        return
    raw = entry["conversations"] if isinstance(entry["conversations"], list) else []
    texts = [turn.get("value") if isinstance(turn, Mapping) else None for turn in raw]
    texts = [_MEDIA_MARK.sub("", text) if isinstance(text, str) else None for text in texts]
    for i in range(0, len(texts), 2):
        yield {"q": texts[i], "a": texts[i + 1] if i + 1 < len(texts) else None}
