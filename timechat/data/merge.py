"""Several files of instructions -> one, in a random order, each item with the `source` that it comes from.

Which items a share takes, and their order, depend on the seed and on each item alone: more items in a file, or more
files, neither change the choice among the others nor their order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from timechat.data.published import published
from timechat.data.records import Bad
from timechat.data.worker_pool import in_order
from timechat.data.writing import check_outputs, check_report, item_writer, json_of
from timechat.datasets.annotations import check_entry
from timechat.datasets.entries import iter_entries
from timechat.errors import AnnotationError, ConfigError
from timechat.evaluation.tables import MISSING, text_table
from timechat.io import sha256_of, sha256_of_file, write_json
from timechat.registry import nearest
from timechat.wording import counted

TIMEIT_104K = "timeit_104k"
SPEECH = "_15asr"  # TimeIT's files whose questions begin with transcribed speech are called so
MAX_LISTED = 10
_OTHER_NAMES = (("instruct_tsp_", "instruct_tsg_"),)  # the published scripts do not agree on the one of yttemporal
_KEYS = {"file", "source", "items", "count", "share"}

Item = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A file that is merged.

    Attributes:
        file: a JSON list, or JSON lines.
        source: what its items are said to come from.
        count: how many items to take; None is all, or `share` of them.
        share: of the items to take; above 1 some or all are there several times.
        items: how many it is known to have; None if that is not known.
        spoken: whether it is the version with transcribed speech.
    """

    file: Path
    source: str
    count: int | None = None
    share: float = 1.0
    items: int | None = None
    spoken: bool = False

    def wanted(self, there: int) -> int:
        """How many items to take of so many."""
        return math.floor(self.share * there + 0.5) if self.count is None else self.count


@dataclass
class Merged:
    """What became of a part.

    Attributes:
        there: items in the file, without broken ones, and `taken`.
        bad: items that training would refuse.
    """

    part: Part
    there: int = 0
    taken: int = 0
    bad: list[Bad] = field(default_factory=list)


def recipe_parts(recipe: str, folder: Path, speech: bool = False) -> list[Part]:
    """The parts that a recipe lists.

    Args:
        recipe: timeit_104k, TimeIT's merged file as published, or a YAML file `{sources: [{file: ...}, ...]}`.
        folder: that its files are relative to.
        speech: take the version with transcribed speech, NAME_15asr.json, where there is one.

    Raises:
        ConfigError: no such recipe, or one that says something else.
    """
    if recipe == TIMEIT_104K:
        entries = [(name, entry) for name, entry in published().items() if entry.merged]
        return [_found(Part(folder / entry.file, name, items=entry.items), speech) for name, entry in entries]
    path = Path(recipe)
    if not path.is_file():
        raise ConfigError(f"--recipe {recipe}: no such file; write {TIMEIT_104K}, or a file that is there")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error}); correct it") from error
    rows = content.get("sources") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path}: expected {{sources: [{{file: ...}}, ...]}}")
    return [_part(f"{path}: sources[{number}]", row, folder, speech) for number, row in enumerate(rows)]


def _part(where: str, row: Any, folder: Path, speech: bool) -> Part:
    if not isinstance(row, dict) or not isinstance(row.get("file"), str):
        raise ConfigError(f"{where}: expected {{file: ...}}, found {str(row)[:60]!r}")
    if unknown := sorted(map(str, row.keys() - _KEYS)):
        near = nearest(unknown[0], sorted(_KEYS))
        raise ConfigError(f"{where}: no key {unknown[0]!r}{near}; there are {', '.join(sorted(_KEYS))}")
    if "count" in row and "share" in row:
        raise ConfigError(f"{where}: has count and share; give one of them")
    for key, kinds in (("items", int), ("count", int), ("share", int | float)):
        value = row.get(key, 1)
        if not isinstance(value, kinds) or isinstance(value, bool) or value <= 0:
            raise ConfigError(f"{where}.{key} is {value!r}: it must be a number above 0")
    file = folder / row["file"]
    named = {key: row[key] for key in ("count", "share", "items") if key in row}
    return _found(Part(file, str(row.get("source", file.parent.name)), **named), speech)


def _found(part: Part, speech: bool) -> Part:
    """The part with the file that is there: with speech, if that is wanted, or under its other published name."""
    names = [part.file]
    for one, other in _OTHER_NAMES:
        names += [part.file.with_name(part.file.name.replace(one, other))] if one in part.file.name else []
    spoken = [file.with_name(f"{file.stem}{SPEECH}{file.suffix}") for file in names] if speech else []
    file = next((file for file in (*spoken, *names) if file.is_file()), part.file)
    return replace(part, file=file, spoken=file in spoken)


def file_part(text: str) -> Part:
    """`FILE`, `FILE=500` (items) or `FILE=50%`; the source is the name of its folder. Raises ConfigError."""
    name, mark, amount = text.rpartition("=")
    if not mark:
        name = text
    file = Path(name)
    source = file.resolve().parent.name
    try:
        if not mark:
            return Part(file, source)
        if amount.endswith("%"):
            return Part(file, source, share=_above_zero(float(amount[:-1])) / 100)
        return Part(file, source, count=_above_zero(int(amount)))
    except ValueError:
        raise ConfigError(f"{text}: write FILE, FILE=500 for 500 items, or FILE=50% for half of them") from None


def _above_zero(number: Any) -> Any:
    if not number > 0 or not math.isfinite(number):
        raise ValueError
    return number


def merge(parts: Sequence[Part], output: Path, seed: int = 0, workers: int = 1) -> list[Merged]:
    """Merge files, and write a report beside the output.

    Args:
        parts: the files.
        output: .json, a list, or .jsonl, one item a line.
        seed: of the choice and the order.
        workers: processes, each of which reads one file at a time; the output does not depend on them.

    Raises:
        ConfigError: the output is one of the files, or a process was killed.
        AnnotationError: files that are missing or no lists, or that have fewer items than are wanted.
    """
    report = output.with_suffix(".report.json")
    check_outputs([part.file for part in parts], [output, report])
    check_report(report, [output])
    if missing := [part.file for part in parts if not part.file.is_file()]:
        listed = "\n  ".join(map(str, missing))
        raise AnnotationError(
            f"{len(missing)} of {counted(len(parts), 'file')} not there; download or convert:\n  {listed}"
        )
    merged = []
    chosen: list[tuple[bytes, str]] = []
    taken = in_order(partial(_take, seed=seed), parts, workers)
    for state, items in tqdm(taken, total=len(parts), desc="merge", unit=" files", disable=None):
        merged.append(state)
        chosen += items
    chosen.sort(key=lambda pair: pair[0])
    with item_writer(output) as write:
        for _, item in chosen:
            write(item)
    write_json(
        report,
        {"output": [str(output)], "seed": seed, "items": len(chosen), "parts": [_as_json(state) for state in merged]},
    )
    return merged


def _take(part: Part, seed: int) -> tuple[Merged, list[tuple[bytes, str]]]:
    """The part's items that are wanted, as JSON, each with what decides its place in the order."""
    state = Merged(part)
    keyed = []
    seen: Counter[str] = Counter()
    for item in _good_items(part, state):
        said = sha256_of(json.dumps(item, sort_keys=True))
        keyed.append((f"{part.source}\0{said}\0{seen[said]}", item))  # equal items are told apart by their number
        seen[said] += 1
    state.there = len(keyed)
    wanted = part.wanted(state.there)
    if not keyed or (part.count is not None and wanted > len(keyed)):
        items = counted(wanted, "item is", "items are")
        raise AnnotationError(
            f"{part.file}: {items} wanted, and it has {len(keyed):,}; take fewer, or a share above 100%"
        )
    order = sorted(keyed, key=lambda pair: _digest(seed, "choice", pair[0]))
    rounds = [(number, order[: wanted - number * len(order)]) for number in range(-(-wanted // len(order)))]
    taken = [
        (_digest(seed, f"order {number}", key), json_of({**item, "source": part.source}))
        for number, pairs in rounds
        for key, item in pairs
    ]
    state.taken = len(taken)
    return state, taken


def _good_items(part: Part, state: Merged) -> Iterator[Item]:
    for number, entry in enumerate(iter_entries(part.file, "video")):
        media = "image" if isinstance(entry, dict) and "image" in entry and "video" not in entry else "video"
        if media == "image":
            raise AnnotationError(
                f"{part.file}, item {number}: is about a picture, which the builder of videos cannot read; keep its "
                "file apart, as a dataset of its own (builder: image_instruct)"
            )
        _, problems = check_entry(entry, number, "videos")
        if problems:
            state.bad.append(Bad(f"item {number}", problems[0]))
        else:
            yield entry


def _digest(seed: int, purpose: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass")).digest()


# Telling --------------------------------------------------------------------------------------------------------------


def _as_json(state: Merged) -> dict[str, Any]:
    part = state.part
    return {
        "file": str(part.file),
        "sha256": sha256_of_file(part.file),
        "source": part.source,
        "with_speech": part.spoken,
        "published_items": part.items,
        "items": state.there,
        "taken": state.taken,
        "broken": [{"where": bad.where, "problem": bad.problem} for bad in state.bad],
    }


def told(merged: Sequence[Merged], output: Path, speech: bool) -> str:
    """What was merged, for a terminal."""
    rows = [
        (
            state.part.source,
            f"{state.there:,}",
            MISSING if state.part.items is None else f"{state.part.items:,}",
            f"{state.taken:,}",
            f"{len(state.bad):,}",
        )
        for state in merged
    ]
    text = text_table(("source", "items", "published", "taken", "broken"), rows)
    text += f"{output}: {counted(sum(state.taken for state in merged), 'item')}\n"
    if speech and (silent := [state.part.source for state in merged if not state.part.spoken]):
        text += f"without a version with speech (NAME{SPEECH}.json): {', '.join(silent)}\n"
    broken = [f"  {state.part.file}, {bad.where}: {bad.problem}" for state in merged for bad in state.bad]
    if broken:
        text += f"broken, and left out: {len(broken):,}\n" + "\n".join(broken[:MAX_LISTED]) + "\n"
    return text
