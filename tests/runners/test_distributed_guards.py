"""Two processes, trouble on one of them: both skip, stop and save alike, and neither waits forever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.guards_worker import HANGS
from helpers.tiny import write_json
from helpers.training import ROOT, item, make_videos, read_lines, torchrun, video_entry

from timechat.datasets import SampleStream

pytestmark = pytest.mark.distributed

ORDER = [SampleStream([8], None, 3).epoch(0, 8)[position].index for position in range(8)]
FINE = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"] * 2
PLAIN = {"vis_processor": {"train": {"name": "alpro_video_eval"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one torchrun left: runs and, of each process, results."""
    folder = tmp_path_factory.mktemp("guards")
    make_videos(folder / "videos")
    shutil.copy(folder / "videos" / "a.mp4", folder / "videos" / HANGS)
    names = list(FINE)
    names[ORDER[3]] = HANGS  # the second step of the second process
    entries = {
        "fine": {"tv": video_entry(folder / "videos", FINE, "fine.json", **PLAIN)},
        "hung": {"tv": video_entry(folder / "videos", names, "hung.json", **PLAIN)},
    }
    valid = write_json(folder / "videos" / "valid.json", [item(name) for name in ("a.mp4", HANGS, "b.mp4", "c.mp4")])
    entries["fine"]["tv"]["build_info"]["valid_anno_dir"] = str(valid)
    (folder / "datasets.json").write_text(json.dumps(entries))
    status, output = torchrun(ROOT / "tests" / "helpers" / "guards_worker.py", str(folder))
    assert status == 0, output[-5000:]
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]


def checkpoint(output: Path, step: int) -> dict[str, Any]:
    """What the checkpoint after a step holds."""
    return torch.load(output / "checkpoints" / f"step_{step:08d}" / "checkpoint.pth", weights_only=True)


def key(position: int, names: list[str] = FINE) -> str:
    """How the sample at a position is named."""
    return f"tv[{ORDER[position]}] {names[ORDER[position]]}"


def test_a_nan_on_one_process_skips_the_step_on_both(folder: Path, ranks: list[dict[str, Any]]) -> None:
    assert [rank["one_bad"]["error"] for rank in ranks] == [None, None]
    first, second = (rank["one_bad"]["weights"] for rank in ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = read_lines(folder / "one_bad" / "log.jsonl")
    (bad,) = [record for record in records if record["event"] == "nonfinite"]
    assert (bad["step"], bad["samples"]) == (2, [key(2), key(3)])
    steps = [record for record in records if record["event"] == "train"]
    assert [(record["step"], record["nonfinite"]) for record in steps] == [(1, 0), (3, 1), (4, 1)]
    contents = {step: checkpoint(folder / "one_bad", step) for step in (2, 3, 4)}
    assert contents[4]["progress"]["nonfinite_guard"] == {"total": 1, "in_a_row": 0}
    assert {int(s["step"]) for s in contents[4]["optimizer"]["state"].values()} == {3}


def test_too_many_in_a_row_stop_both_with_the_last_good_checkpoint(folder: Path, ranks: list[dict[str, Any]]) -> None:
    message = (
        "TrainingError: loss or gradient was NaN or infinite in 2 steps in a row (run.max_nonfinite), up to step 3"
    )
    assert all(rank["too_many"]["error"].startswith(message) for rank in ranks)
    assert f"(samples of the last: {key(4)}, {key(5)})" in ranks[0]["too_many"]["error"]
    saved = sorted(path.name for path in (folder / "too_many" / "checkpoints").iterdir())
    assert saved == ["step_00000001", "step_00000002"]
    contents = [checkpoint(folder / "too_many", step)["model"] for step in (1, 2)]
    weights = ranks[1]["too_many"]["weights"]
    for name in contents[0].keys() & weights.keys():
        assert torch.equal(contents[0][name], contents[1][name])
        assert torch.equal(contents[0][name], weights[name])
        assert torch.isfinite(weights[name]).all()


def test_a_file_that_hangs_one_worker_stops_both_and_is_left_out_by_the_resumed_run(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    """That the processes ended at all says that the worker that hung was ended."""
    names = json.loads((folder / "videos" / "hung.json").read_text())
    assert names[ORDER[3]]["video"] == HANGS
    reason = "a worker hung on it for 4 s (run.data_timeout_s)"
    for rank in ranks:
        error = rank["hangs"]["error"]
        assert error.startswith(f"TrainingError: tv[{ORDER[3]}] {HANGS}: not read within run.data_timeout_s=4 s")
        assert "step_00000001; resume with" in error
        assert rank["resumed"]["error"] is None
    content = checkpoint(folder / "hangs", 4)
    assert content["progress"]["skip_list"] == {"tv": {HANGS: reason}}
    (record,) = read_lines(folder / "hangs" / "skipped.jsonl")
    assert record["sample"] == f"tv[{ORDER[3]}] {HANGS}"
    assert (record["error"], record["step"]) == (f"{HANGS}: {reason}", 2)
    records = [record for record in read_lines(folder / "hangs" / "log.jsonl") if record["event"] == "train"]
    assert [(record["step"], record["skipped"]) for record in records] == [(1, 0), (2, 1), (3, 1), (4, 1)]


def test_a_file_that_hangs_the_validation_is_left_out_of_the_next_one(
    folder: Path, ranks: list[dict[str, Any]]
) -> None:
    """Or the run would never get beyond that epoch."""
    for rank in ranks:
        assert rank["valid"]["error"].startswith(
            f"TrainingError: tv[1] {HANGS}: not read within run.data_timeout_s=4 s"
        )
        assert rank["valid_resumed"]["error"] is None
    records = read_lines(folder / "valid" / "log.jsonl")
    (valid,) = [record for record in records if record["event"] == "valid"]
    assert (valid["step"], valid["valid_skipped"]) == (1, 1)
    assert [record["step"] for record in records if record["event"] == "train"] == [1]
    assert (folder / "valid" / "checkpoint_best.pth").is_file()
