"""Training on shards: killed and started again, with workers, on two processes, and with damaged shards."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.interruptions import ANNOTATIONS, DROPOUT, LONG, NO_DROPOUT, PLAIN, RANDOM, Case, at_step, die
from helpers.shards import packed
from helpers.training import build, read_lines
from test_exact_resume import LEFT_OVER

from timechat.errors import ConfigError

pytestmark = pytest.mark.forks

TINY = ("run.task=pixels", "model.num_frm=2", "model.image_size=8", *NO_DROPOUT)


@pytest.fixture(scope="module")
def entry(base: Path) -> dict[str, Any]:
    """The seven videos in four shards, with a window over the samples of two or so."""
    items = json.loads((base / "videos" / ANNOTATIONS).read_text())
    size = 2 * (max(path.stat().st_size for path in (base / "videos").glob("*.mp4")) + 2048)
    folder, done = packed(base / "packed", items, base / "videos", seed=1, shard_bytes=size)
    assert done.shards in (3, 4)
    return {"builder": "shards", "build_info": {"anno_dir": str(folder)}, "shuffle_buffer": 4}


@pytest.fixture(scope="module")
def undisturbed(base: Path, entry: dict[str, Any]) -> dict[str, Any]:
    case = Case(base / "videos", base / "undisturbed", (*LONG, *DROPOUT), 1, entry | RANDOM)
    assert case.run() == [0], case.said()
    return case.result() | {"drawn": case.drawn()}


@pytest.mark.parametrize(("kill", "workers"), [(2, 0), (3, 2), (5, 2)])
def test_killed_on_shards_a_run_goes_on_as_if_nothing_had_happened(
    base: Path, entry: dict[str, Any], undisturbed: dict[str, Any], kill: int, workers: int
) -> None:
    options = (*LONG, *DROPOUT, f"run.num_workers={workers}")
    case = Case(base / "videos", base / f"shards{kill}_{workers}", options, 1, entry | RANDOM)
    assert case.run(at_step(kill, die)) == [-signal.SIGKILL]
    (first,) = case.drawn()
    assert case.run() == [0], case.said()
    assert f"resuming after step {kill - 1}\n" in case.said()
    assert case.result() == {key: undisturbed[key] for key in ("log", "weights")}
    assert first[: 2 * (kill - 1)] + case.drawn()[0] == undisturbed["drawn"][0]


def test_all_of_the_shards_are_drawn_and_both_epochs_differ(undisturbed: dict[str, Any]) -> None:
    keys = [key for record in undisturbed["drawn"][0] for key in record["keys"]]
    assert len(keys) == 12
    assert len(set(keys[:6])) == len(set(keys[6:])) == 6
    assert keys[:6] != keys[6:]
    assert all(key.partition(" ")[2].startswith("train-00000") for key in keys)


@pytest.mark.parametrize("workers", [0, 2])
def test_two_processes_draw_what_one_does(base: Path, entry: dict[str, Any], workers: int) -> None:
    drawn, losses = [], []
    for world in (1, 2):
        options = (*LONG, *NO_DROPOUT, *LEFT_OVER, f"run.num_workers={workers}")
        case = Case(base / "videos", base / f"world{world}_{workers}", options, world, entry | PLAIN)
        assert case.run() == [0] * world, case.said()
        drawn.append([key for rank in case.drawn() for record in rank for key in record["keys"]])
        losses.append([record["loss"] for record in case.result()["log"]])
    assert sorted(drawn[0]) == sorted(drawn[1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_killed_on_two_processes(base: Path, entry: dict[str, Any]) -> None:
    options = (*LONG, *DROPOUT, "run.reference_world_size=1", "run.num_workers=2")
    whole = Case(base / "videos", base / "two_whole", options, 2, entry | RANDOM)
    assert whole.run() == [0, 0], whole.said()
    case = Case(base / "videos", base / "two_killed", options, 2, entry | RANDOM)
    first, other = case.run(at_step(5, lambda: int(os.environ["RANK"]) or die()))
    assert (first, other > 0) == (-signal.SIGKILL, True)
    assert case.run() == [0, 0], case.said()
    assert case.result() == whole.result()


def test_another_window_is_another_run(base: Path, entry: dict[str, Any]) -> None:
    options = (*LONG, *DROPOUT)
    case = Case(base / "videos", base / "window", options, 1, entry | RANDOM)
    case.run(at_step(3, die))
    case.entry = {**entry, **RANDOM, "shuffle_buffer": 5}
    assert case.run() == [1]
    assert "datasets.tv.shuffle_buffer: 4 then, 5 now" in case.said()


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(base: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """One shard of all videos, to be damaged."""
    items = json.loads((base / "videos" / ANNOTATIONS).read_text())
    folder, _ = packed(tmp_path / "p", items, base / "videos")
    return folder, {"builder": "shards", "build_info": {"anno_dir": str(folder)}, **PLAIN}


def test_a_cut_shard_counts_as_missing_videos(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, entry = own
    shard = folder / "train-000000.tar"
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(
        ConfigError, match=r"run\.missing_videos=error: videos of the training data are missing"
    ) as error:
        build(tmp_path / "run", {"tv": entry}, *TINY)
    assert "tv: 3 of 7 files are missing, such as train-000000.tar/e.mp4" in str(error.value)
    runner = build(tmp_path / "run", {"tv": entry}, *TINY, "run.missing_videos=drop", "run.iters_per_epoch=6")
    runner.train()
    assert runner.stock.facts["tv"]["samples_there"] == 4
    assert not read_lines(tmp_path / "run" / "skipped.jsonl")


def test_bad_members_are_skipped_and_counted(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """An annotation that is no JSON, and a video that is none."""
    folder, entry = own
    shard = folder / "train-000000.tar"
    content = shard.read_bytes().replace(b'{"video": "b.mp4"', b'["video": "b.mp4"')
    place = content.index(b"ftyp", content.index(b"c.mp4\0"))
    shard.write_bytes(content[:place] + b"\0" * 600 + content[place + 600 :])
    options = ("run.max_skip_ratio=0.5", "run.iters_per_epoch=7", "run.max_epoch=1")
    runner = build(tmp_path / "run", {"tv": entry}, *TINY, *options)
    runner.train()
    skipped = {record["sample"]: record["error"] for record in read_lines(tmp_path / "run" / "skipped.jsonl")}
    assert set(skipped) == {"tv[1] train-000000.tar/b.mp4", "tv[2] train-000000.tar/c.mp4"}
    assert "is not valid JSON" in skipped["tv[1] train-000000.tar/b.mp4"]
    assert "train-000000.tar/c.mp4: cannot be decoded" in skipped["tv[2] train-000000.tar/c.mp4"]
