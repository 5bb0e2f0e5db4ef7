"""A source's annotations -> instructions in TimeIT's format, and the rows that a benchmark reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from timechat.data.reading import Found, json_object, stem_of, text_lines
from timechat.data.records import Bad, LeftOut, Record
from timechat.data.sources import SOURCES, Asked, Source
from timechat.data.tasks import TASKS, Task, turns_of
from timechat.data.worker_pool import chunks, in_order
from timechat.data.writing import LINES, check_outputs, check_report, item_writer, json_of
from timechat.datasets.annotations import check_entry, inside
from timechat.errors import AnnotationError, ConfigError
from timechat.io import sha256_of_file, write_json
from timechat.lfs import refuse_pointer
from timechat.registry import nearest
from timechat.wording import counted

MAX_LISTED = 10  # broken parts that a summary shows
MAX_REPORTED = 10_000  # that a report holds; all are counted

_CHUNK = 2048  # records that a process is given at once: few enough to wait for, many enough to start one for

_NUMBERED = re.compile(r"\w+ (\d+)")  # a place such as "line 9"
_MARK = re.compile(r"\{(\w+)\}")
_BAD_PATH = "the path of its video, {!r}, points outside of the folder of videos"


@dataclass(frozen=True)
class Conversion:
    """What to convert, and how.

    Attributes:
        source: a name in SOURCES.
        path: its file or folder.
        output: the instructions, .json or .jsonl; None for none.
        eval_output: the rows for evaluation; None for none.
        task: one of the source's; None is its first one.
        split: one of the source's; None is its first one.
        videos: path of a video, with marks such as {id}; None is the source's usual one.
        ids: file with other ids of the videos, JSON or two columns; None keeps those of the annotations.
        text_only: whether items without a video or picture are kept.
        seed: of the choice of questions.
        strict: whether a broken part is an error.
        workers: processes; what is written does not depend on them.
    """

    source: str
    path: Path
    output: Path | None = None
    eval_output: Path | None = None
    task: str | None = None
    split: str | None = None
    videos: str | None = None
    ids: Path | None = None
    text_only: bool = False
    seed: int = 0
    strict: bool = False
    workers: int = 1

    @property
    def files(self) -> list[Path]:
        """What is written, but for the report."""
        return [file for file in (self.output, self.eval_output) if file is not None]

    @property
    def report(self) -> Path:
        """The file that tells what was converted, beside the first output."""
        return self.files[0].with_suffix(".report.json")


@dataclass
class Summary:
    """What a conversion did.

    Attributes:
        converted: records that became items.
        text_only: of them, those without a video or picture.
        rows: rows for evaluation.
        left_out: how many parts each rule left out.
        broken: how many parts are broken, and `bad`, the first ones.
    """

    converted: int = 0
    text_only: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    bad: list[Bad] = field(default_factory=list)

    @property
    def listed(self) -> list[Bad]:
        """The broken parts in the order of the file, as far as their places have numbers."""
        return sorted(self.bad, key=lambda bad: int(found[1]) if (found := _NUMBERED.fullmatch(bad.where)) else 0)

    def count(self, part: Bad | LeftOut) -> None:
        """Count a part that did not become an item."""
        if isinstance(part, LeftOut):
            self.left_out[part.rule] += 1
            return
        self.broken += 1
        if len(self.bad) < MAX_REPORTED:
            self.bad.append(part)

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        counts = {name: getattr(self, name) for name in ("converted", "text_only", "rows", "broken")}
        listed = [{"where": bad.where, "problem": bad.problem} for bad in self.listed]
        return {**counts, "left_out": dict(self.left_out), "broken_parts": listed}


def convert(asked: Conversion) -> Summary:
    """Convert a file, and write a report of it beside the first output.

    Files are written under another name and renamed when all is done, so a run that was interrupted leaves none; the
    same call writes the same bytes again.

    Raises:
        ConfigError: what is asked for does not exist.
        AnnotationError: nothing can be converted; a broken part, if asked to be strict.
    """
    source = _checked(asked)
    task, split = asked.task or source.tasks[0], asked.split or next(iter(source.splits), "")
    summary = Summary()
    items = _items(asked, source, Asked(task, split, asked.text_only), summary)
    with ExitStack() as stack:
        add_item, add_row = (
            stack.enter_context(item_writer(file, coco)) if file else None
            for file, coco in ((asked.output, False), (asked.eval_output, TASKS[task].coco))
        )
        for item, row in items:
            if add_item:
                add_item(item)
            if add_row and row is not None:
                summary.rows += 1
                add_row(json_of(row))
        _refuse_if_useless(asked, summary)
    write_json(asked.report, _report(asked, task, split) | summary.as_json())
    return summary


def _items(
    asked: Conversion, source: Source, how: Asked, summary: Summary
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each item, as JSON, with its row for evaluation; everything is counted in the summary."""
    ids = None if asked.ids is None else _read_ids(asked.ids)
    making = _Making(
        how.task, asked.videos or source.videos[how.task], how.split, ids, asked.seed, asked.eval_output is not None
    )
    found = tqdm(source.read(asked.path, how), desc=source.name, unit=" records", disable=None)
    seen: Counter[str] = Counter()
    for parts in in_order(partial(_make_all, making=making), chunks(found, _CHUNK), asked.workers):
        for made in parts:
            if not isinstance(made, _Made):
                summary.count(made)
                continue
            summary.converted += 1
            summary.text_only += not made.video
            yield made.item, _numbered(TASKS[how.task], made, seen)


@dataclass(frozen=True)
class _Making:
    """How records become items: the same for all of them, and all that a process must know.

    Attributes:
        task: a name in TASKS.
        template: path of a video, with marks.
        split: of the source.
        ids: other ids of the videos; None keeps them.
        seed: of the choice of questions.
        rows: whether rows for evaluation are wanted.
    """

    task: str
    template: str
    split: str
    ids: Mapping[str, str] | None
    seed: int
    rows: bool


@dataclass(frozen=True)
class _Made:
    """What a record has become.

    Attributes:
        video: its path; "" for text alone.
        item: the instructions, as JSON.
        row: for evaluation, with the video's name as its id; None if it is not wanted, or no benchmark reads it.
    """

    video: str
    item: str
    row: dict[str, Any] | None


def _make_all(found: Sequence[Found], making: _Making) -> list[_Made | Bad | LeftOut]:
    return [_make(part, making) if isinstance(part, Record) else part for part in found]


def _make(record: Record, making: _Making) -> _Made | Bad | LeftOut:
    task = TASKS[making.task]
    video = _video_path(record, making)
    if not isinstance(video, str):
        return video
    item: dict[str, Any] = {task.media: video} if video else {}
    item["QA"] = turns_of(making.task, record, video, making.seed)
    _, problems = check_entry({task.media: "text alone", **item}, 0, "videos", task.media)
    if problems:
        return Bad(record.where, problems[0])
    row = task.row(record, video, stem_of(record.video)) if making.rows else None
    return _Made(video, json_of(item), row)


def _numbered(task: Task, made: _Made, seen: Counter[str]) -> dict[str, Any] | None:
    """The row for evaluation, whose id is VIDEO#k, k counting a video's rows from 0; None if there is none."""
    row = made.row
    if row is not None and task.coco:
        if "id" in row:
            row = {**row, "id": f"{row['id']}#{seen[made.video]}"}
        elif seen[made.video]:
            return None  # such rows are told apart by their video
    seen[made.video] += row is not None
    return row


def _video_path(record: Record, making: _Making) -> str | Bad | LeftOut:
    """Where the record's video is; empty for text alone."""
    if not record.video:
        return ""
    name, ids, template = record.video, making.ids, making.template
    if ids is not None:
        if stem_of(name) not in ids:
            return LeftOut(record.where, "its id is not in the file of --ids")
        name = ids[stem_of(name)]
    known = {"path": name, "id": stem_of(name), "split": making.split, **record.parts}
    unknown = [mark for mark in _MARK.findall(template) if mark not in known]
    if unknown:
        raise ConfigError(f"--videos {template}: no mark {{{unknown[0]}}}; there are {', '.join(known)}")
    path = _MARK.sub(lambda mark: known[mark[1]], template)
    return path if inside(path, "videos") and path.strip("/") else Bad(record.where, _BAD_PATH.format(path))


def _read_ids(path: Path) -> dict[str, str]:
    """Other ids of videos: a JSON object, or two columns with a comma, a tab or a blank between them."""
    if path.suffix == ".json":
        pairs = json_object(path, "{id: other id}")
        if not all(isinstance(other, str) for other in pairs.values()):
            raise AnnotationError(f"--ids {path}: expected {{id: other id}}, both text")
        return pairs
    rows = [(where, re.split(r"[,\t ]+", line)) for where, line in text_lines(path)]
    for where, columns in rows:
        if len(columns) != 2:
            raise AnnotationError(f"--ids {path}, {where}: expected an id and another id, found {columns}")
    return {first: second for _, (first, second) in rows}


# Checks ---------------------------------------------------------------------------------------------------------------


def _checked(asked: Conversion) -> Source:
    """The source, if all that is asked for exists. Raises ConfigError, AnnotationError."""
    if asked.source not in SOURCES:
        raise ConfigError(
            f"no source {asked.source!r}{nearest(asked.source, list(SOURCES))}; there are {', '.join(SOURCES)}"
        )
    source = SOURCES[asked.source]
    for name, value, known in (("task", asked.task, source.tasks), ("split", asked.split, source.splits)):
        if value is not None and value not in known:
            there = f"it has {', '.join(known)}" if known else "it has none, leave it out"
            raise ConfigError(f"--{name} {value}: {source.name} has no {name} of that name; {there}")
    if not asked.files:
        raise ConfigError("give --output, --eval-output or both")
    if not asked.path.exists() or (source.folder and not asked.path.is_dir()):
        raise AnnotationError(f"{asked.path}: no such {'folder' if source.folder else 'file'}; give {source.words}")
    refuse_pointer(asked.path, AnnotationError)
    check_outputs([asked.path], [*asked.files, asked.report])
    check_report(asked.report, asked.files)
    if asked.eval_output is not None:
        _check_evaluation(asked, source, asked.task or source.tasks[0])
    if asked.videos is not None and set("{}") & set(_MARK.sub("", asked.videos)):
        raise ConfigError(f"--videos {asked.videos}: a brace belongs to no mark; write marks as in '{{id}}.mp4'")
    return source


def _check_evaluation(asked: Conversion, source: Source, task: str) -> None:
    benchmark = TASKS[task].benchmark
    if not benchmark and source.as_it_is:
        raise ConfigError(
            f"--eval-output: `timechat evaluate --benchmark {source.as_it_is}` reads {source.words} as downloaded; "
            "leave it out"
        )
    if not benchmark:
        raise ConfigError(
            f"--eval-output: {source.name} has free answers, which no benchmark scores; give a second --output as "
            "build_info.valid_anno_dir, and training reports the loss on it"
        )
    if benchmark == "etbench" and asked.eval_output is not None and asked.eval_output.suffix == LINES:
        raise ConfigError(f"--eval-output {asked.eval_output}: {benchmark} reads a list; end the name in .json")


def _refuse_if_useless(asked: Conversion, summary: Summary) -> None:
    """Raise AnnotationError if nothing was converted, or if a part is broken and that is not allowed."""
    first = "".join(f"\n  {asked.path}, {bad.where}: {bad.problem}" for bad in summary.listed[:MAX_LISTED])
    if summary.broken and asked.strict:
        broken = counted(summary.broken, "part is", "parts are")
        raise AnnotationError(f"{asked.path}: {broken} broken, to be corrected or removed:{first}")
    if not summary.converted:
        rules = "".join(f"\n  {count} left out: {rule}" for rule, count in summary.left_out.items())
        raise AnnotationError(f"{asked.path}: nothing in it can be converted{first}{rules}")
    if asked.eval_output is not None and not summary.rows:
        raise AnnotationError(
            f"{asked.path}: none of {counted(summary.converted, 'record')} can be evaluated; leave --eval-output out"
        )


def _report(asked: Conversion, task: str, split: str) -> dict[str, Any]:
    digest = sha256_of_file(asked.path) if asked.path.is_file() else None
    return {
        "source": asked.source,
        "input": str(asked.path),
        "input_sha256": digest,
        "task": task,
        "split": split,
        "seed": asked.seed,
        "output": [str(file) for file in asked.files],
    }


# Telling --------------------------------------------------------------------------------------------------------------


def told(asked: Conversion, summary: Summary) -> str:
    """What a conversion did, for a terminal."""
    lines = [f"{counted(summary.converted, 'record')} of {asked.path} converted"]
    if asked.output is not None:
        alone = f", {summary.text_only:,} of which text alone" if summary.text_only else ""
        lines.append(f"{asked.output}: {counted(summary.converted, 'item')}{alone}")
    if asked.eval_output is not None:
        lacking = summary.converted - summary.rows
        without = f"; {counted(lacking, 'has', 'have')} no place in its benchmark" if lacking else ""
        lines.append(f"{asked.eval_output}: {counted(summary.rows, 'row')}{without}")
    lines += [f"left out: {count:,} ({rule})" for rule, count in summary.left_out.most_common()]
    if summary.broken:
        lines.append(f"broken, and left out: {summary.broken:,} (all of them in {asked.report})")
        lines += [f"  {asked.path}, {bad.where}: {bad.problem}" for bad in summary.listed[:MAX_LISTED]]
    return "\n".join(lines) + "\n"
