"""Data of which much cannot be had: counted, left out on request, and the same stream however a run is interrupted."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.interruptions import ANNOTATIONS, LONG, NO_DROPOUT, PLAIN, RANDOM, Case, at_step, die, make_gradients
from helpers.tiny import write_json
from helpers.training import item, read_lines
from helpers.unreadable_videos import unreadable
from helpers.videos import write_video

from timechat.errors import ConfigError

pytestmark = pytest.mark.forks

DROP = ("run.missing_videos=drop", *NO_DROPOUT)
TWO = ("run.reference_world_size=1",)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of 20 videos, 14 of which do not exist; the 7 of `make_gradients` less one."""
    folder = tmp_path_factory.mktemp("lost") / "videos"
    make_gradients(folder)
    (folder / "g.mp4").unlink()
    names = [f"{letter}.mp4" for letter in "abcdef"] + [f"gone{number}.mp4" for number in range(14)]
    sources = ["coin", "vitt"] * 10
    entries = [item(name) | {"source": source} for name, source in zip(names, sources, strict=True)]
    order = [7, 0, 8, 9, 1, 10, 11, 2, 12, 13, 3, 14, 15, 4, 16, 17, 5, 18, 19, 6]
    write_json(folder / ANNOTATIONS, [entries[number] for number in order])
    return folder


def drawn(case: Case) -> list[list[Any]]:
    """The samples of each process, in order."""
    return [[key for record in rank for key in record["keys"]] for rank in case.drawn()]


# 70 % of the files are missing ----------------------------------------------------------------------------------------


def test_by_default_a_run_is_refused_with_counts_and_both_ways_out(lost: Path, tmp_path: Path) -> None:
    case = Case(lost, tmp_path / "refused", LONG, entry=PLAIN)
    with pytest.raises(ConfigError) as error:
        case.build()
    for part in (
        "run.missing_videos=error: videos of the training data are missing",
        f"datasets.tv: 6 of 20 files exist, for 6 of 20 samples (videos_dir={lost})",
        "coin: 7 of 10 files are missing, such as gone",
        "vitt: 7 of 10 files are missing, such as gone",
        "put the files there, correct datasets.*.build_info.videos_dir, or train without them: run.missing_videos=drop",
    ):
        assert part in str(error.value)
    assert not list(case.output.rglob("*.pth"))


def test_two_processes_are_refused_alike(lost: Path, tmp_path: Path) -> None:
    case = Case(lost, tmp_path / "refused2", LONG, 2, PLAIN)
    assert case.run() == [1, 1]
    for rank in (0, 1):
        assert "ConfigError: run.missing_videos=error: videos of the training data are missing" in case.said(rank)


def test_without_the_missing_ones_it_trains_to_the_end_and_reports_them(lost: Path, tmp_path: Path) -> None:
    case = Case(lost, tmp_path / "run", ("run.max_epoch=2", "run.log_freq=1", *DROP), entry=PLAIN)
    assert case.run() == [0], case.said()
    (keys,) = drawn(case)
    assert len(keys) == 12, "two passes over what is there"
    numbers = {"a": 1, "b": 4, "c": 7, "d": 10, "e": 13, "f": 16}
    assert sorted(keys) == sorted(2 * [f"tv[{number}] {letter}.mp4" for letter, number in numbers.items()])
    said = case.said()
    assert "training data: datasets.tv: 6 of 20 files exist, for 6 of 20 samples; " in said
    assert "coin: 7 of 10 files are missing, such as gone2.mp4" in said
    (start,) = json.loads((case.output / "run_info.json").read_text())["starts"]
    assert start["videos"]["tv"] == {
        "samples": 20,
        "samples_there": 6,
        "files": 20,
        "files_there": 6,
        "files_left_out": 14,
        "missing_by_source": {"coin": 7, "vitt": 7},
    }
    assert {record["skipped"] for record in read_lines(case.output / "log.jsonl") if record["event"] == "train"} == {0}
    assert not (case.output / "skipped.jsonl").exists()


def test_a_dataset_without_a_single_file_is_refused_anyway(tmp_path: Path) -> None:
    make_gradients(tmp_path / "videos")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).unlink()
    case = Case(tmp_path / "videos", tmp_path / "run", DROP)
    write_json(case.videos / ANNOTATIONS, [item("a.mp4"), item("b.mp4")])
    with pytest.raises(ConfigError, match=r"0 of 2 files exist(.|\n)*take what has no file at all out of datasets"):
        case.build()


@pytest.mark.parametrize(("workers", "world"), [(0, 1), (2, 1), (0, 2)])
def test_killed_and_resumed_it_draws_the_same_samples(lost: Path, tmp_path: Path, workers: int, world: int) -> None:
    options = (*LONG, *TWO, *DROP, f"run.num_workers={workers}")
    whole = Case(lost, tmp_path / "whole", options, world, RANDOM)
    assert whole.run() == [0] * world, whole.said()
    case = Case(lost, tmp_path / "killed", options, world, RANDOM)
    first, *_ = case.run(at_step(5, lambda: int(os.environ.get("RANK", 0)) or die()))
    assert first == -signal.SIGKILL
    before = case.drawn()
    assert case.run() == [0] * world, case.said()
    assert "resuming after step 4\n" in case.said()
    assert case.result() == whole.result()
    done = 4 * 2 // world
    assert [b[:done] + a for b, a in zip(before, case.drawn(), strict=True)] == whole.drawn()


def test_two_processes_draw_what_one_draws(lost: Path, tmp_path: Path) -> None:
    cases = [Case(lost, tmp_path / f"world{world}", (*LONG, *TWO, *DROP), world, PLAIN) for world in (1, 2)]
    for case in cases:
        assert case.run() == [0] * case.world, case.said()
    ((one,), two) = map(drawn, cases)
    assert sorted(one) == sorted(itertools.chain(*two))
    assert [sorted(one[i : i + 2]) for i in range(0, 12, 2)] == [sorted(pair) for pair in zip(*two, strict=True)]
    for ours, theirs in zip(*(case.result()["weights"] for case in cases), strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)


# What exists changes between two starts -------------------------------------------------------------------------------


@pytest.fixture
def stopped(lost: Path, tmp_path: Path) -> Callable[..., Case]:
    """A run that was killed after step 4 of 6, on videos of its own, which may change before it goes on."""

    def make(*options: str) -> Case:
        videos = tmp_path / "videos"
        videos.mkdir()
        for file in lost.iterdir():
            (videos / file.name).write_bytes(file.read_bytes())
        case = Case(videos, tmp_path / "run", (*LONG, *DROP, *options), 1, PLAIN)
        assert case.run(at_step(5, die)) == [-signal.SIGKILL]
        return case

    return make


def test_videos_that_come_later_stay_out_of_a_resumed_run(
    lost: Path, stopped: Callable[..., Case], tmp_path: Path
) -> None:
    """So that it ends as if they had not come; the log says how to take them in."""
    case = stopped()
    (before,) = drawn(case)
    write_video(case.videos / "gone3.mp4", frames=10)
    assert case.run() == [0], case.said()
    folder = case.output / "checkpoints" / "step_00000004"
    assert "1 files of datasets.tv are there now, such as gone3.mp4; the run goes on without them" in case.said()
    assert f"To train on them, too: run.resume={folder}" in case.said()
    whole = Case(lost, tmp_path / "whole", case.options, 1, PLAIN)
    assert whole.run() == [0]
    assert case.result() == whole.result()
    assert [*before[:8], *drawn(case)[0]] == drawn(whole)[0]


def test_videos_that_have_gone_are_an_error_that_says_what_to_do(stopped: Callable[..., Case]) -> None:
    case = stopped()
    content = (case.videos / "a.mp4").read_bytes()
    (case.videos / "a.mp4").unlink()
    folder = case.output / "checkpoints" / "step_00000004"
    assert case.run() == [1]
    said = case.said()
    assert "ConfigError: run.resume=auto" in said
    assert "the run began with videos that are missing now: 1 files of datasets.tv are gone, such as a.mp4" in said
    assert f"go on with what is there, in another order of samples: run.resume={folder}" in said
    (case.videos / "a.mp4").write_bytes(content)
    assert case.run() == [0], case.said()
    assert "are gone" not in case.said()


def test_named_a_checkpoint_goes_on_with_what_is_there(stopped: Callable[..., Case]) -> None:
    """And again from its own checkpoints, now with the new list."""
    case = stopped()
    (case.videos / "a.mp4").unlink()
    folder = case.output / "checkpoints" / "step_00000004"
    case.drawn()
    again = Case(case.videos, case.output, (*case.options, f"run.resume={folder}"), 1, PLAIN)
    assert again.run(at_step(6, die)) == [-signal.SIGKILL], again.said()
    assert "since it was written, videos have changed: 1 files of datasets.tv are gone, such as a.mp4" in again.said()
    assert "tv[1] a.mp4" not in drawn(again)[0]
    assert again.run() == [0], again.said()
    assert "resuming after step 5\n" in again.said()
    assert "are gone" not in again.said()


# Files that are there and cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2])
def test_with_many_unreadable_files_a_killed_run_draws_the_same(tmp_path: Path, world: int) -> None:
    unreadable(tmp_path / "videos", good=4, bad=16)
    names = [f"good{number}.mp4" for number in range(4)] + [f"bad{number}.mp4" for number in range(16)]
    write_json(tmp_path / "videos" / ANNOTATIONS, [item(name) for name in names])
    options = (*LONG, *TWO, *NO_DROPOUT, "run.max_skip_ratio=0.95", "run.iters_per_epoch=16")
    whole, case = (Case(tmp_path / "videos", tmp_path / name, options, world, RANDOM) for name in ("whole", "killed"))
    assert whole.run() == [0] * world, whole.said()
    case.run(at_step(4, lambda: int(os.environ.get("RANK", 0)) or die()))
    before = case.drawn()
    assert case.run() == [0] * world, case.said()
    assert case.result() == whole.result()
    done = 3 * 2 // world
    assert [b[:done] + a for b, a in zip(before, case.drawn(), strict=True)] == whole.drawn()
    skipped = [read_lines(run.output / "skipped.jsonl") for run in (whole, case)]
    assert len(skipped[0]) > 20
    assert skipped[0] == skipped[1]
