"""Each source, from a miniature of its own file to items, answers to the letter, and rows that a benchmark reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.source_data import DOWNLOADS

from timechat.data.convert import Conversion, convert
from timechat.data.sources import SOURCES
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
