"""run_info.json tells what each start of a run was."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest
import torch
from helpers.tiny import tiny_config

from timechat.errors import TrainingError
from timechat.runners import run_info
from timechat.runners.run_info import record_start, versions


def test_each_start_is_added(tmp_path: Path) -> None:
    """A resumed run keeps its id and what was known about its earlier starts."""
    first = record_start(tmp_path, tiny_config(["run.seed=7"]), engine="ddp", step=0)
    second = record_start(tmp_path, tiny_config(["run.seed=8"]), engine="ddp", step=30)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["run_info.json"]
    info = json.loads((tmp_path / "run_info.json").read_text())
    assert info["id"] == first
    assert [(s["config"]["run"]["seed"], s["step"], s["engine"]) for s in info["starts"]] == [
        (7, 0, "ddp"),
        (8, 30, "ddp"),
    ]
    start = info["starts"][0]
    assert start["command"].startswith(sys.executable) or sys.orig_argv[0] in start["command"]
    assert start["world_size"] == 1
    assert start["time"].endswith("+00:00")
    assert start["host"]


def test_versions() -> None:
    found = versions()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["python"] == sys.version.split()[0]
    assert found["transformers"]
    assert "timechat" in found


def test_packages_are_those_that_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is null; what only developers need is left out."""
    declared = ["torch<3,>=2.6", "no-such-package; extra == 'deepspeed'", "ruff>=0.9; extra == 'dev'"]
    monkeypatch.setattr(run_info.importlib.metadata, "requires", lambda name: declared)
    assert versions().keys() == {"python", "cuda", "timechat", "torch", "no-such-package"}
    assert versions()["no-such-package"] is None


def test_code_that_is_not_installed_names_every_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(run_info.importlib.metadata, "requires", missing)
    assert {"torch", "pytest", "transformers"} < versions().keys()


@pytest.mark.parametrize("content", ["no json", "[]", '{"id": "x"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run_info.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run_info\.json: is damaged"):
        record_start(tmp_path, tiny_config())
    assert (tmp_path / "run_info.json").read_text() == content
