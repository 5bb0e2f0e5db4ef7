"""Each source, from a miniature of its own file to items, answers to the letter, and rows that a benchmark reads."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from helpers.source_data import DOWNLOADS, write_json, write_lines

from timechat.data.convert import Conversion, convert
from timechat.data.records import Conversation, Event, Events, LeftOut
from timechat.data.sources import SOURCES, Asked
from timechat.data.tasks import TASKS
from timechat.datasets.annotations import read_instructions
from timechat.evaluation.benchmarks import get_benchmark


def test_there_is_a_miniature_of_every_source() -> None:
    assert DOWNLOADS.keys() == SOURCES.keys()


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_source_becomes_items_and_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    download = DOWNLOADS[name](tmp_path / "in")
    output, rows = tmp_path / "train.json", tmp_path / "test.json"
    asked = Conversion(name, download.path, output, rows if download.rows else None, **download.options)

    summary = convert(asked)

    assert (summary.broken, summary.left_out) == (0, download.left_out)
    task = TASKS[asked.task or SOURCES[name].tasks[0]]
    items = json.loads(output.read_text())
    assert [(item[task.media], item["QA"][0]["a"]) for item in items] == download.answers
    assert len(read_instructions(output, "videos", task.media)) == len(items)
    assert (summary.converted, summary.rows) == (len(items), download.rows)
    if download.rows:
        annotations = get_benchmark(task.benchmark).load_annotations(rows)
        assert len(annotations.rows) == download.rows


# Rules of single sources ----------------------------------------------------------------------------------------------


def events_of(source: str, path: Path, asked: Asked) -> tuple[Event, ...]:
    """The events of a file with one record."""
    (record,) = SOURCES[source].read(path, asked)
    assert isinstance(record, Events)
    return record.events


def said(folder: Path, times: list[float]) -> list[tuple[float, float | None, int]]:
    """Start, end and number of words of what YT-Temporal's metadata with a word at each time becomes."""
    words = [{"word": "word", "time": time} for time in times]
    path = write_lines(folder / "yttemporal.jsonl", [{"info": {"id": "v"}, "subtitles": words}])
    events = events_of("yttemporal", path, Asked("transcription"))
    return [(event.start, event.end, len(event.text.split())) for event in events]


def test_sentences_of_yttemporal_end_at_pauses_and_after_20_words(tmp_path: Path) -> None:
    """A word is taken to last half a second, but not into the next sentence."""
    assert said(tmp_path, [0.0, 1.0, 2.125, 2.5]) == [(0.0, 1.5, 2), (2.125, 3.0, 2)]
    assert said(tmp_path, [number / 4 for number in range(21)]) == [(0.0, 5.0, 20), (5.0, 5.5, 1)]


@pytest.mark.parametrize("name", ["v.txt", "v.tsv"])
def test_transcripts_of_yttemporal(tmp_path: Path, name: str) -> None:
    """As TimeIT has them, or from `timechat data asr`, which also leaves a list of what it could not read."""
    (tmp_path / name).write_text("0.5\t2.0\thello there\n2.0\t3.5\tgoodbye\n")
    (tmp_path / "failed.txt").write_text("other.mp4\tno video\n")
    events = events_of("yttemporal", tmp_path, Asked("transcription"))
    assert events == (Event(0.5, 2.0, "hello there"), Event(2.0, 3.5, "goodbye"))


def test_of_40_sentences_15_are_kept_evenly_spread(tmp_path: Path) -> None:
    starts = [start for start, _, _ in said(tmp_path, [10.0 * number for number in range(40)])]
    assert starts == [10.0 * number for number in (0, 2, 5, 8, 10, 13, 16, 18, 21, 24, 26, 29, 32, 34, 37)]


def test_a_clip_of_hirest_lasts_as_long_as_its_bounds(tmp_path: Path) -> None:
    """The row for evaluation says so; a query is looked for in the whole video."""
    asked = Conversion("hirest", DOWNLOADS["hirest"](tmp_path).path, eval_output=tmp_path / "rows.json")
    convert(asked)
    (row,) = json.loads((tmp_path / "rows.json").read_text())["annotations"]
    assert (row["timestamp"], row["duration"]) == ([35, 79], 99.5)
    (record, _) = SOURCES["hirest"].read(asked.path, Asked("step_localization"))
    assert record.duration == 44.0


def test_what_is_not_relevant_in_hirest_is_left_out(tmp_path: Path) -> None:
    entry = {"relevant": True, "clip": True, "v_duration": 9, "bounds": [0, 9], "steps": [1]}
    videos = {f"{key}.mp4": {**entry, key: none} for key, none in (("relevant", False), ("clip", False), ("steps", []))}
    found = list(SOURCES["hirest"].read(write_json(tmp_path / "a.json", {"q": videos}), Asked("grounding")))
    assert [type(part) for part in found] == [LeftOut] * 3


@pytest.mark.parametrize(("end", "kept"), [(300.0, True), (300.1, False)])
def test_queryd_up_to_300_seconds(end: float, kept: bool, tmp_path: Path) -> None:
    for name, content in (("raw", {"v": [["a", "dog"]]}), ("times", {"v": [[1.0, end]]})):
        (tmp_path / f"{name}_captions_combined_filtered.pkl").write_bytes(pickle.dumps(content))
    (tmp_path / "train_list.txt").write_text("v\n")
    (found,) = SOURCES["queryd"].read(tmp_path, Asked("grounding", "train"))
    assert isinstance(found, LeftOut) != kept


@pytest.mark.parametrize(
    ("task", "times", "turns", "truth"),
    [
        ("tvg", [3.0, 9.5], 1, [[3.0, 9.5]]),
        ("tvg", [[3.0, 9.5]], 1, [[3.0, 9.5]]),
        ("tal", [1.0, 2.0, 4.0, 5.0], 1, [[1.0, 2.0], [4.0, 5.0]]),
        ("tvg", [3.0, 9.5], 2, None),  # a benchmark asks once
    ],
)
def test_samples_of_et_instruct(task: str, times: list[Any], turns: int, truth: Any, tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "From 3.0 to 9.5 seconds."}] * turns
    row = {"task": task, "source": "x", "video": "a.mp4", "duration": 60.0, "conversations": talk, "tgt": times}
    (found,) = SOURCES["et_instruct"].read(write_json(tmp_path / "a.json", [row]), Asked("timed_conversation"))
    assert isinstance(found, Conversation)
    assert found.row.get("tgt") == truth
