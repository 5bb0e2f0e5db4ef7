"""Files that are there and cannot be read: the ratio alone decides when a run stops."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from helpers.interruptions import NO_DROPOUT
from helpers.training import build, read_lines
from helpers.unreadable_videos import unreadable

from timechat.errors import TrainingError

TINY = ("run.task=pixels", "model.num_frm=2", "model.image_size=8", *NO_DROPOUT)


def test_many_unreadable_files_stop_a_run_only_by_the_ratio(tmp_path: Path) -> None:
    """95 of 100: dozens in a row. The ratio alone decides, and what the message says is true."""
    entry = unreadable(tmp_path / "videos", good=5, bad=95)
    runner = build(tmp_path / "on", {"tv": entry}, *TINY, "run.max_skip_ratio=0.99", "run.iters_per_epoch=100")
    runner.train()
    skipped = read_lines(tmp_path / "on" / "skipped.jsonl")
    rows = [len(list(group)) for _, group in itertools.groupby(record["position"] for record in skipped)]
    assert max(rows) > 11
    assert runner.guard.total_skipped == len(skipped)

    runner = build(tmp_path / "stop", {"tv": entry}, *TINY, "run.max_skip_ratio=0.9", "run.iters_per_epoch=100")
    with pytest.raises(TrainingError, match=r"could not be used, more than run\.max_skip_ratio=0\.9 allows") as error:
        runner.train()
    bad, recent = map(int, re.findall(r"(\d+) of the last (\d+) samples", str(error.value))[0])
    assert bad > 0.9 * recent
    assert bad == len(read_lines(tmp_path / "stop" / "skipped.jsonl"))


def test_where_nothing_is_readable_the_search_ends(tmp_path: Path) -> None:
    """The first sample of the first micro-batch decides; the others of the step are not searched for."""
    entry = unreadable(tmp_path / "videos", good=0, bad=3)
    options = ("run.iters_per_epoch=100000", "run.accum_grad_iters=50")
    runner = build(tmp_path / "run", {"tv": entry}, *TINY, *options)
    with pytest.raises(TrainingError, match=r"1000 of the last 1000 samples could not be used, more than run\.max"):
        runner.train()
    runner = build(tmp_path / "all", {"tv": entry}, *TINY, "run.max_skip_ratio=1.0", "run.iters_per_epoch=30")
    with pytest.raises(TrainingError, match="no sample could be used, although all of the epoch's were tried"):
        runner.train()
    assert len(read_lines(tmp_path / "all" / "skipped.jsonl")) == 30
