"""A run with a manifest: it trains on the rest, says so, and goes on only with the same items left out."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.training import Run, build, make_videos, train

from timechat.datasets.manifest import Manifest, write_manifest
from timechat.errors import ConfigError

SHORT = ("run.max_epoch=1", "run.missing_videos=drop")


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A dataset of four videos."""
    return make_videos(tmp_path_factory.mktemp("data") / "videos")


@pytest.fixture(scope="module")
def finished(entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one epoch without the items 0 and 2."""
    folder = tmp_path_factory.mktemp("run")
    return train(folder / "out", {"tv": with_manifest(entry, folder / "m.json", [0, 2])}, *SHORT)


def with_manifest(entry: dict[str, Any], path: Path, numbers: list[int]) -> dict[str, Any]:
    """The dataset without some items."""
    info = entry["build_info"]
    write_manifest(Manifest(str(path), 4, {"unreadable": numbers}), info["anno_dir"], {})
    return entry | {"build_info": info | {"manifest": str(path)}}


def test_the_rest_is_trained_on_and_run_info_counts(finished: Run) -> None:
    assert [key.split()[0] for key in (finished.runner.datasets[0].key(i) for i in range(2))] == ["tv[1]", "tv[3]"]
    assert finished.runner.plan.steps_per_epoch * finished.runner.plan.global_batch <= 2
    start = json.loads((finished.output / "run_info.json").read_text())["starts"][0]
    facts = start["manifests"]["tv"]
    assert (facts["items"], facts["left_out"]) == (4, {"unreadable": 2})
    assert start["videos"]["tv"]["samples"] == 2


def test_it_goes_on_with_the_same_items_wherever_the_manifest_lies(
    finished: Run, entry: dict[str, Any], tmp_path: Path
) -> None:
    moved = with_manifest(entry, tmp_path / "moved.json", [2, 0])
    assert build(finished.output, {"tv": moved}, *SHORT).steps == len(finished.steps)


@pytest.mark.parametrize("numbers", [[0], None])
def test_it_does_not_go_on_with_others(
    finished: Run, entry: dict[str, Any], tmp_path: Path, numbers: list[int] | None
) -> None:
    other = entry if numbers is None else with_manifest(entry, tmp_path / "other.json", numbers)
    with pytest.raises(ConfigError, match=r"datasets\.tv\.build_info\.manifest left out other items then"):
        build(finished.output, {"tv": other}, *SHORT)


def test_a_checkpoint_that_is_named_only_warns(
    finished: Run, entry: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = with_manifest(entry, tmp_path / "other.json", [1])
    named = next((finished.output / "checkpoints").iterdir())
    with caplog.at_level(logging.WARNING):
        build(tmp_path / "out", {"tv": other}, *SHORT, f"run.resume={named}", "run.max_epoch=2")
    assert "was written with other manifests: datasets.tv.build_info.manifest left out other items then" in caplog.text
