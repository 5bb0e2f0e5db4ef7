"""One audit, in three passes: the annotations, their videos, and the annotations again with what the videos are.

Nothing is kept of an item but a few numbers, so that memory grows with the number of videos, not with the texts.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timechat.data.audit.faults import DUPLICATE, MISSING, SCHEMA, UNFIT, Finding
from timechat.data.audit.findings import Findings
from timechat.data.audit.items import Checked, Checks, check_items
from timechat.data.audit.targets import Target
from timechat.data.audit.videos import HEADER, Looking, Looks
from timechat.data.published import source_of
from timechat.data.worker_pool import chunks, in_order
from timechat.datasets.annotations import Item
from timechat.datasets.readers.header import Header
from timechat.errors import AnnotationError, ConfigError
from timechat.io import remove_left_overs, replacing

_CHUNK = 128  # items that a process is given at once


@dataclass(frozen=True)
class Settings:
    """What an audit looks for.

    Attributes:
        how: header | decode.
        min_seconds: a shorter video is too short.
        tolerance_s: how far beyond the end of a video a time may be.
        unfit: the faults for which an item is left out.
        workers: processes.
        timeout_s: for one video.
    """

    how: str = HEADER
    min_seconds: float = 1.0
    tolerance_s: float = 1.0
    unfit: Collection[str] = UNFIT
    workers: int = 1
    timeout_s: float = 120.0


@dataclass
class SourceCounts:
    """What a source has: items and files, and how many of them can be used."""

    items: int = 0
    items_left: int = 0
    files: int = 0
    files_there: int = 0
    files_readable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def sum_of(cls, parts: Iterable[SourceCounts]) -> SourceCounts:
        """The counts of several sources together."""
        total = cls()
        for part in parts:
            total.items += part.items
            total.items_left += part.items_left
            total.files += part.files
            total.files_there += part.files_there
            total.files_readable += part.files_readable
            total.kinds += part.kinds
        return total


@dataclass
class Audit:
    """The result for one dataset.

    Attributes:
        target: what was audited.
        settings: how.
        items: how many there are.
        sources: counts by source, in the order of the annotations.
        findings: the faults.
        lengths: of the items in tokens, where they were counted.
        looked: how many videos were looked at now; the others were known.
    """

    target: Target
    settings: Settings
    items: int
    sources: dict[str, SourceCounts]
    findings: Findings
    lengths: array[int]
    looked: int

    @property
    def left(self) -> int:
        """Items that training keeps."""
        return self.items - sum(map(len, self.findings.left_out.values()))


@dataclass
class _Survey:
    """What the first pass keeps: for each item the number of its path and of its source, and a hash of all of it."""

    paths: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    path_of: array[int] = field(default_factory=partial(array, "l"))  # -1: the item breaks the schema
    source_of: array[int] = field(default_factory=partial(array, "l"))
    digests: array[int] = field(default_factory=partial(array, "Q"))


def audit(target: Target, settings: Settings, faults: Path, looks: Path) -> Audit:
    """Audit an annotation file and its videos.

    Args:
        target: what.
        settings: how.
        faults: the file that lists all faults, as JSON lines.
        looks: the file that keeps what was found in each video.

    Raises:
        AnnotationError: the file cannot be read. ConfigError: an output would overwrite it, or a process was killed.
        OSError: an output cannot be written.
    """
    if Path(target.annotations).resolve() in (faults.resolve(), looks.resolve()):
        raise ConfigError(f"{target.annotations}: would be overwritten; give another --output")
    remove_left_overs([faults])
    with replacing(faults) as temporary, temporary.open("w", encoding="utf-8") as file:
        findings = Findings(file, settings.unfit)
        survey = _survey(target, findings)
        known = Looks(looks)
        looking = Looking(target.videos_dir, settings.how, target.images, settings.timeout_s)
        looked = known.look_at(list(survey.paths), looking, settings.workers)
        result = Audit(target, settings, len(survey.path_of), {}, findings, array("l"), looked)
        _judge_videos(survey, known, result)
        _check_items(survey, known, result)
        _find_duplicates(survey, findings)
    result.sources = _count(survey, known, result)
    return result


def _survey(target: Target, findings: Findings) -> _Survey:
    survey = _Survey()
    for number, (item, problems) in enumerate(tqdm(target.entries(), desc="annotations", unit="item", disable=None)):
        if item is None:
            findings.add(Finding(number, SCHEMA, "; ".join(problems)), "")
            path, source, digest = -1, "", 0
        else:
            path = survey.paths.setdefault(item.path, len(survey.paths))
            source, digest = source_of(item.source, item.path, target.annotations), _digest(item)
        survey.path_of.append(path)
        survey.source_of.append(survey.sources.setdefault(source, len(survey.sources)))
        survey.digests.append(digest)
    if not survey.path_of:
        raise AnnotationError(f"{target.annotations}: has no items")
    return survey


def _digest(item: Item) -> int:
    content = json.dumps([item.path, item.start, item.end, item.qa])
    return int.from_bytes(hashlib.blake2b(content.encode("utf-8", "backslashreplace"), digest_size=8).digest(), "big")


def _judge_videos(survey: _Survey, looks: Looks, result: Audit) -> None:
    """Each fault of a video is one of all items about it."""
    verdicts = {}
    for path, number in survey.paths.items():
        if verdict := looks[path].judge(result.settings.min_seconds):
            verdicts[number] = (path, *verdict)
    for number, of_path in enumerate(survey.path_of):
        if of_path in verdicts:
            path, fault, detail = verdicts[of_path]
            result.findings.add(Finding(number, fault, detail), path)


def _check_items(survey: _Survey, looks: Looks, result: Audit) -> None:
    target, settings = result.target, result.settings
    sources = list(survey.sources)
    result.sources = {source: SourceCounts() for source in sources}

    def pairs() -> Iterator[tuple[Item, Header | None]]:
        for item, _ in target.entries():
            if item is not None:
                paths.append(item.path)
                yield item, looks[item.path].header

    paths: list[str] = []
    checks = Checks(target.tokens, settings.tolerance_s, settings.min_seconds)
    jobs = chunks(pairs(), _CHUNK)
    with tqdm(total=result.items, desc="answers", unit="item", disable=None) as bar:
        for checked in in_order(partial(check_items, checks=checks), jobs, settings.workers):
            for one, path in zip(checked, paths[: len(checked)], strict=True):
                _note(one, path, sources[survey.source_of[one.number]], result)
            del paths[: len(checked)]
            bar.update(len(checked))


def _note(checked: Checked, path: str, source: str, result: Audit) -> None:
    result.sources[source].kinds[checked.kind] += 1
    if checked.length is not None:
        result.lengths.append(checked.length)
    for finding in checked.findings:
        result.findings.add(finding, path)


def _find_duplicates(survey: _Survey, findings: Findings) -> None:
    digests, paths = np.array(survey.digests, dtype=np.uint64), list(survey.paths)
    order = np.argsort(digests, kind="stable")
    first = 0
    for place in range(1, len(order)):
        number, before = int(order[place]), int(order[first])
        if digests[number] != digests[before] or survey.path_of[number] < 0:
            first = place
        else:
            findings.add(Finding(number, DUPLICATE, f"as item {before}"), paths[survey.path_of[number]])


def _count(survey: _Survey, looks: Looks, result: Audit) -> dict[str, SourceCounts]:
    names, counts = list(survey.sources), result.sources
    seen = bytearray(len(survey.paths))
    paths = list(survey.paths)
    for number, (of_path, of_source) in enumerate(zip(survey.path_of, survey.source_of, strict=True)):
        source = counts[names[of_source]]
        source.items += 1
        source.items_left += not result.findings.is_left_out(number)
        if of_path >= 0 and not seen[of_path]:
            seen[of_path] = 1
            look = looks[paths[of_path]]
            source.files += 1
            source.files_there += look.fault != MISSING
            source.files_readable += not look.fault
    return counts
