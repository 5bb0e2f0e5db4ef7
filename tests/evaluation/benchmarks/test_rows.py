"""Files of rows: a JSON list, JSON lines and parquet say the same."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import mvbench_row, video_mme_rows, write_json, write_parquet

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.annotations import video_file, with_all_suffixes
from timechat.evaluation.benchmarks.rows import Rows, file_of, part_of, read_annotations, read_rows

ROWS = [{"video": "a.mp4", "span": [0.5, 2.0]}, {"video": "b.mp4", "span": [1.0, 3.0]}]


def test_three_forms_of_the_same_rows(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text("\n".join(["", *map(json.dumps, ROWS), ""]))
    assert read_annotations(lines).placed == [("line 2", ROWS[0]), ("line 3", ROWS[1])]
    expected = [("row 0", ROWS[0]), ("row 1", ROWS[1])]
    assert read_annotations(write_json(tmp_path / "a.json", ROWS)) == Rows(expected)
    assert read_rows(write_parquet(tmp_path / "a.parquet", ROWS), "rows") == expected


def test_other_json_stays_as_it_is(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"v": 1})
    assert read_annotations(path) == {"v": 1}
    with pytest.raises(AnnotationError, match=r"a.json: expected a list of questions, found \"{'v': 1}\""):
        read_rows(path, "a list of questions")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pyarrow":
            raise ImportError("No module named 'pyarrow'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AnnotationError, match=r"a.parquet: .*pip install 'timechat\[parquet\]'"):
        read_annotations(path)


def test_broken_parquet(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such annotation file"):
        read_annotations(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(AnnotationError, match=r"cannot be read as parquet .*download it again"):
        read_annotations(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(AnnotationError, match="git-lfs pointer"):
        read_annotations(tmp_path / "a.parquet")


def test_parts_of_a_download(tmp_path: Path) -> None:
    hub = write_parquet(tmp_path / "action_count" / "train-00000-of-00001.parquet", ROWS)
    assert file_of(tmp_path, "action_count") == hub
    assert part_of(hub) == "action_count"
    plain = write_json(tmp_path / "action_count.json", ROWS)
    assert file_of(tmp_path, "action_count") == plain
    assert part_of(plain) == "action_count"
    assert file_of(tmp_path, "action_antonym") is None


def test_mvbench_as_parquet(tmp_path: Path) -> None:
    rows = [mvbench_row("action_count", number) for number in range(2)]
    benchmark = get_benchmark("mvbench")
    expected = benchmark.read(write_json(tmp_path / "action_count.json", rows))
    assert benchmark.read(write_parquet(tmp_path / "action_count" / "test-00000-of-00001.parquet", rows)) == expected


def test_video_mme_as_parquet(tmp_path: Path) -> None:
    benchmark = get_benchmark("video_mme")
    rows = video_mme_rows("short")
    expected = benchmark.read(write_json(tmp_path / "a.json", rows))
    assert benchmark.read(write_parquet(tmp_path / "test-00000-of-00001.parquet", rows)) == expected


def test_names_with_and_without_suffix() -> None:
    assert [video_file(name) for name in ("AO8RW", "AO8RW.mp4", "x.AVI", "v_210.0_360.0")] == [
        "AO8RW.mp4",
        "AO8RW.mp4",
        "x.AVI",
        "v_210.0_360.0.mp4",
    ]
    assert with_all_suffixes(["a/x.webm", "frames"]) == (
        "a/x.webm", "frames", "a/x.mp4", "a/x.mkv", "a/x.avi",
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi"])
def test_any_container_whatever_the_annotation_says(tmp_path: Path, suffix: str) -> None:
    """In every benchmark, because the contract looks for the files; durations are found under that name too."""
    (tmp_path / f"AO8RW{suffix}").touch()
    anno = tmp_path / "anno.txt"
    anno.write_text("AO8RW.mp4 0.0 3.0##a person sits.\n")
    benchmark = get_benchmark("charades_sta")
    annotations = benchmark.load_annotations(anno)
    (question,) = benchmark.questions(annotations, "{query}", videos_dir=tmp_path)
    assert question.video == f"AO8RW{suffix}"
    assert benchmark.duration_of(annotations.rows[0], {question.video: 7.0}) == 7.0
