"""E.T. Bench's annotations: one list of samples of twelve tasks, checked by what their task needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    id_problems,
    interval_problems,
    is_number,
    read_annotation_json,
    text_problems,
    video_problems,
)
from timechat.evaluation.metrics.multiple_choice import LETTERS

CHOICE, MOMENT, INTERVALS, EVENTS, GROUNDED_CHOICE = "choice", "moment", "intervals", "events", "grounded choice"
VID_MARK = "<vid>"  # a time, in the annotations for models that have a token for it


class Task(NamedTuple):
    """One of the twelve tasks.

    Attributes:
        name: as papers print it.
        answer: what its answers are: CHOICE, MOMENT, INTERVALS, EVENTS or GROUNDED_CHOICE.
        score: the metric that papers print.
    """

    name: str
    answer: str
    score: str

    @property
    def headline(self) -> str:
        """The score as it is called in a record."""
        return f"{self.name} {self.score}"


TASKS = {
    "rar": Task("RAR", CHOICE, "Acc"),  # referred action recognition
    "eca": Task("EVC", CHOICE, "Acc"),  # event-caption alignment
    "rvq": Task("RVQ", CHOICE, "Acc"),  # referred video question answering
    "tvg": Task("TVG", INTERVALS, "F1"),  # temporal video grounding
    "epm": Task("EPM", INTERVALS, "F1"),  # episodic memory
    "tal": Task("TAL", INTERVALS, "F1"),  # temporal action localization
    "evs": Task("EVS", INTERVALS, "F1"),  # extractive video summarization
    "vhd": Task("VHD", MOMENT, "F1"),  # video highlight detection
    "dvc": Task("DVC", EVENTS, "F1"),  # dense video captioning
    "slc": Task("SLC", EVENTS, "F1"),  # step localization and captioning
    "tem": Task("TEM", INTERVALS, "Rec"),  # temporal event matching
    "gvq": Task("GVQ", GROUNDED_CHOICE, "Rec"),  # grounded video question answering
}


def read_samples(anno_path: str | Path, subset: str | None = None) -> list[Row]:
    """The checked samples of a file, or of all JSON files of a folder.

    Args:
        anno_path: `etbench_txt_v1.0.json`, the folder `txt/`, or one task's file in it.
        subset: `subset.json` of the download, {task: {source: [idx, ...]}}: only these are kept.

    Raises:
        AnnotationError: naming the file, the sample, the field and the fix.
    """
    path = Path(anno_path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    places = [(f"{file.name}, sample {n}", _named(raw)) for file in files for n, raw in enumerate(_read_list(file))]
    rows = [_row(raw) for raw in check_rows(path, places, _problems, lambda raw: raw["id"])]
    return rows if subset is None else _only(rows, subset)


def _read_list(file: Path) -> list[Any]:
    content = read_annotation_json(file)
    if not isinstance(content, list):
        raise AnnotationError(f"{file}: expected a list of samples, found {str(content)[:60]!r}")
    return content


def _named(raw: Any) -> Any:
    """With an id: task, source and number of the sample; what is no sample stays as it is, for the check to refuse."""
    return {**raw, "id": f"{raw.get('task')}/{raw.get('source')}/{raw.get('idx')}"} if isinstance(raw, dict) else raw


def _only(rows: list[Row], subset: str) -> list[Row]:
    wanted = read_annotation_json(subset)
    try:
        ids = {
            f"{task}/{source}/{idx}"
            for task, sources in wanted.items()
            for source in sources
            for idx in sources[source]
        }
    except (AttributeError, TypeError):
        raise AnnotationError(f"{subset}: expected {{task: {{source: [idx, ...]}}}}; take subset.json again") from None
    kept = [row for row in rows if row["id"] in ids]
    if not kept:
        raise AnnotationError(f"{subset}: names none of the {len(rows)} samples; take the file of the same download")
    return kept


def _row(raw: Row) -> Row:
    """A sample with sorted intervals and options as texts."""
    return {
        "id": raw["id"],
        "task": raw["task"],
        "source": raw["source"],
        "video": raw["video"],
        "duration": raw.get("duration"),
        "query": raw["q"].strip(),
        "intervals": [(float(min(pair)), float(max(pair))) for pair in _pairs(raw.get("tgt") or [])],
        "captions": raw.get("g") or [],
        "options": [option_text(option) for option in raw.get("o") or []],
        "answer": raw.get("p"),
        "raw": {key: value for key, value in raw.items() if key not in ("id", "a")},
    }


def option_text(option: Any) -> str:
    """An option as it is compared; an interval becomes `start - end`."""
    return f"{option[0]} - {option[1]}" if isinstance(option, list) else str(option)


def _pairs(value: Any) -> list[Any]:
    """The intervals of `tgt`, whether it is one, a list of them, or a list for each annotator."""
    if not isinstance(value, list):
        return [value]
    if value and not any(isinstance(part, list) for part in value):
        return [value]
    return [pair for part in value for pair in _pairs(part)]


def _problems(raw: Row) -> Iterable[str]:
    yield from id_problems(raw, "idx")
    for field in ("source", "q"):
        yield from text_problems(raw, field)
    yield from video_problems(raw, "video")
    if isinstance(raw.get("q"), str) and VID_MARK in raw["q"]:
        yield f"q has times as {VID_MARK}: take the annotations with times in words, etbench_txt_v1.0.json"
    if raw.get("duration") is not None and not (is_number(raw["duration"]) and raw["duration"] > 0):
        yield f"duration is {raw['duration']!r}: it must be a number of seconds above 0"
    task = TASKS.get(str(raw.get("task")))
    if task is None:
        yield f"task is {raw.get('task')!r}: it must be one of {', '.join(TASKS)}"
        return
    if task.answer in (CHOICE, GROUNDED_CHOICE):
        yield from _choice_problems(raw)
    if task.answer != CHOICE:
        yield from _interval_problems(raw)
    if task.answer == EVENTS:
        yield from _caption_problems(raw)


def _choice_problems(raw: Mapping[str, Any]) -> Iterable[str]:
    options, right = raw.get("o"), raw.get("p")
    if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS) or not all(map(_is_option, options)):
        yield f"o is {str(options)[:60]}: it must be a list of 2 or more texts or [start, end]"
    elif type(right) is not int or not 0 <= right < len(options):
        yield f"p is {right!r}: it must be an index from 0 to {len(options) - 1}"


def _is_option(option: Any) -> bool:
    if isinstance(option, list):
        return len(option) == 2 and all(map(is_number, option))
    return isinstance(option, str) and bool(option.strip())


def _interval_problems(raw: Mapping[str, Any]) -> Iterable[str]:
    targets = _pairs(raw.get("tgt"))
    if not targets:
        yield "tgt is []: it must hold one [start, end] or more"
    for target in targets:
        yield from interval_problems(target, "tgt")


def _caption_problems(raw: Mapping[str, Any]) -> Iterable[str]:
    captions = raw.get("g")
    if not isinstance(captions, list) or not all(isinstance(text, str) and text.strip() for text in captions):
        yield f"g is {str(captions)[:60]}: it must be a list of captions"
    elif len(captions) != len(_pairs(raw.get("tgt"))):
        yield f"g has {len(captions)} captions, tgt {len(_pairs(raw.get('tgt')))} intervals; give one for each"
