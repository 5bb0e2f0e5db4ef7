"""Annotations of several benchmarks are checked together: what they hold, and every mistake before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.temporal_data import write_charades, write_qvhighlights

from timechat.cli.annotations import main


def test_counts_and_mistakes_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    charades, highlights = write_charades(tmp_path / "c"), write_qvhighlights(tmp_path / "q")
    (charades.videos / "DDDDD.mp4").unlink()
    good = ["charades_sta", str(charades.anno), str(charades.videos)]
    other = ["qvhighlights", str(highlights.anno), str(highlights.videos)]
    assert main([*good, *other]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:] == [["charades_sta", "5", "4", "1"], ["qvhighlights", "4", "4", "0"]]
    highlights.anno.write_text("{}\n")
    assert main([*other, *good, "charade", "x", "y", "charades_sta", "none.txt", "y"]) == 1
    printed = capsys.readouterr()
    assert "charades_sta  5 " in printed.out
    assert "qvhighlights: AnnotationError: " in printed.err
    assert "qid is None" in printed.err
    assert "unknown benchmark 'charade' (did you mean 'charades_sta'?)" in printed.err
    assert "none.txt: no such annotation file" in printed.err


def test_each_benchmark_has_three_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["charades_sta", "x"])
    assert "give a name, annotations and a folder" in capsys.readouterr().err
