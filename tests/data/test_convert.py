"""What converting does to every source alike: seeds, order, broken parts, files."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.source_data import write_json, write_lines

from timechat.data.convert import Conversion, Summary, convert
from timechat.data.instructions import FOLDER, QUERY, question_for, questions_of
from timechat.data.tasks import TASKS
from timechat.errors import AnnotationError, ConfigError, TimeChatError
from timechat.evaluation.benchmarks import get_benchmark

ROWS = [{"video": f"{n}.mp4", "start": n, "end": n + 1.5, "sentence": f"event {n}"} for n in range(40)]


def items_of(folder: Path, rows: list[Any], source: str = "mine", **asked: Any) -> list[dict[str, Any]]:
    """Rows of one's own, converted."""
    path = write_lines(folder / "rows.jsonl", rows)
    convert(Conversion(source, path, folder / "out.json", **asked))
    return json.loads((folder / "out.json").read_text())


# Questions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.stem)
def test_six_questions_a_task(file: Path) -> None:
    questions = questions_of(file.stem)
    assert len(questions) == len(set(questions)) == 6
    has_query = file.stem in ("grounding", "grounding_instant", "highlights")
    assert [question.count(QUERY) for question in questions] == [int(has_query)] * 6
    assert all(question == question.strip() for question in questions)


def test_a_moment_without_length_is_not_asked_for_its_end() -> None:
    for question in questions_of("grounding_instant"):
        assert "end" not in question.split()
        assert "start" not in question


def test_an_item_keeps_its_question_whatever_stands_around_it(tmp_path: Path) -> None:
    all_of_them = items_of(tmp_path, ROWS)
    assert items_of(tmp_path, ROWS[::-1])[::-1] == all_of_them
    assert items_of(tmp_path, ROWS[7:8]) == all_of_them[7:8]


def test_a_seed_decides_among_all_questions(tmp_path: Path) -> None:
    asked = {seed: [item["QA"][0]["q"] for item in items_of(tmp_path, ROWS, seed=seed)] for seed in (0, 1)}
    assert asked[0] != asked[1]
    without_query = Counter(question.replace(f"event {n}", "") for n, question in enumerate(asked[0]))
    assert len(without_query) == 6
    assert max(without_query.values()) <= 15


def test_a_query_is_quoted_and_marks_in_it_stay() -> None:
    assert question_for("grounding", 0, "v", "a", query="'a {query} mark'").count("'a {query} mark'") == 1


# Files ----------------------------------------------------------------------------------------------------------------


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    items_of(tmp_path, ROWS)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    items_of(tmp_path, ROWS)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first
    assert first.keys() == {"rows.jsonl", "out.json", "out.report.json"}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_any_number_of_processes_writes_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several videos have several rows, whose ids count on, and broken ones are listed in the order of the file."""
    monkeypatch.setattr("timechat.data.convert._CHUNK", 7)
    rows = [{**row, "video": f"{n % 9}.mp4"} | ({"end": "x"} if n % 11 == 5 else {}) for n, row in enumerate(ROWS)]
    path = write_lines(tmp_path / "rows.jsonl", [*rows, {**ROWS[0], "video": "../out.mp4"}])
    written = []
    for workers in (1, 2, 3):
        files = [tmp_path / f"{name}{suffix}" for name in ("out", "rows_for_evaluation")]
        summary = convert(Conversion("mine", path, *files, workers=workers))
        assert (summary.converted, summary.rows, summary.broken) == (36, 36, 5)
        written.append([file.read_bytes() for file in (*files, tmp_path / "out.report.json")])
    assert written[0] == written[1] == written[2]


def test_what_a_process_refuses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timechat.data.convert._CHUNK", 7)
    with pytest.raises(ConfigError, match=r"--videos \{no\}\.mp4: no mark \{no\}; there are path, id, split"):
        items_of(tmp_path, ROWS, videos="{no}.mp4", workers=2)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_a_killed_conversion_left_is_removed(tmp_path: Path) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    (tmp_path / f".out.json.{killed.pid}.tmp").write_text("[half")
    items_of(tmp_path, ROWS)
    assert {file.name for file in tmp_path.iterdir()} == {"rows.jsonl", "out.json", "out.report.json"}


def test_one_item_a_line(tmp_path: Path) -> None:
    listed = items_of(tmp_path, ROWS)
    convert(Conversion("mine", tmp_path / "rows.jsonl", tmp_path / "lines.jsonl", tmp_path / "test.jsonl"))
    assert [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()] == listed
    assert len(get_benchmark("charades_sta").load_annotations(tmp_path / "test.jsonl").rows) == 40


def test_an_earlier_output_stays_if_the_input_cannot_be_read(tmp_path: Path) -> None:
    items_of(tmp_path, ROWS)
    before = (tmp_path / "out.json").read_bytes()
    with pytest.raises(AnnotationError, match=r"nothing in it can be converted\n.*line 1: expected an object"):
        items_of(tmp_path, ["no row"])
    assert (tmp_path / "out.json").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_missing_input_and_a_git_lfs_pointer(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"gone.json: no such file; give your own rows"):
        convert(Conversion("mine", tmp_path / "gone.json", tmp_path / "out.json"))
    (tmp_path / "p.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1200000\n")
    with pytest.raises(AnnotationError, match="git-lfs pointer"):
        convert(Conversion("mine", tmp_path / "p.json", tmp_path / "out.json"))


def test_a_video_that_is_not_below_the_folder_is_broken(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "video": video} for video in ("../x.mp4", "/etc/x.mp4", "good.mp4")]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    summary = convert(Conversion("mine", path, tmp_path / "out.json"))
    assert (summary.converted, summary.broken) == (1, 2)
    assert "'../x.mp4', points outside of the folder of videos" in summary.bad[0].problem


def test_a_text_that_training_would_refuse_is_broken(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "sentence": "an <ImageHere> mark"}]
    summary = convert(Conversion("mine", write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "out.json"))
    assert (summary.converted, summary.broken) == (1, 1)
    assert "<ImageHere>" in summary.bad[0].problem


def test_ids_of_videos_are_looked_up(tmp_path: Path) -> None:
    ids = write_json(tmp_path / "ids.json", {"0": "zero", "1": "one"})
    path = write_lines(tmp_path / "rows.jsonl", ROWS[:3])
    summary = convert(Conversion("mine", path, tmp_path / "out.json", ids=ids, videos="all/{id}.mp4"))
    videos = [item["video"] for item in json.loads((tmp_path / "out.json").read_text())]
    assert videos == ["all/zero.mp4", "all/one.mp4"]
    assert summary.left_out == {"its id is not in the file of --ids": 1}


def test_a_benchmark_reads_every_kind_of_row() -> None:
    """`Task.benchmark` names one that is there."""
    for task in TASKS.values():
        if task.benchmark:
            assert get_benchmark(task.benchmark).name == task.benchmark


def test_counts_stay_when_only_the_first_broken_parts_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("timechat.data.convert.MAX_REPORTED", 2)
    path = write_lines(tmp_path / "rows.jsonl", [ROWS[0], *["broken"] * 5])
    summary: Summary = convert(Conversion("mine", path, tmp_path / "out.json"))
    assert (summary.broken, len(summary.bad)) == (5, 2)


def test_an_option_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no source 'minee' .did you mean 'mine'"):
        convert(Conversion("minee", tmp_path, tmp_path / "out.json"))


def test_two_files_do_not_share_a_report(tmp_path: Path) -> None:
    items_of(tmp_path, ROWS[:2])
    asked = Conversion("mine", tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"out\.report\.json: is the report about .*out\.json; give the new file"):
        convert(asked)
    assert not (tmp_path / "out.jsonl").exists()
    assert len(items_of(tmp_path, ROWS[:3])) == 3, "the same file may be written again"
    (tmp_path / "out.json").unlink()
    convert(asked)


def test_a_brace_that_is_not_closed_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--videos \{id\.mp4: a brace belongs to no mark"):
        items_of(tmp_path, ROWS[:2], videos="{id.mp4")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("charades_sta", "it is a folder: give a file"),
        ("youcook2", "it is a folder: give a file"),
        ("mine", "it is a folder: give a file"),
        ("tvsum", "correct its path"),
        ("summe", "holds no files NAME.mat; give SumMe's folder GT/"),
    ],
)
def test_a_folder_in_the_place_of_a_file(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(TimeChatError, match=message):
        convert(Conversion(source, tmp_path / "in", tmp_path / "out" / "x.json"))
    assert not (tmp_path / "out").exists()
