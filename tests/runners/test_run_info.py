"""run_info.json tells what each start of a run was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.tiny import tiny_config
from helpers.training import ROOT

from timechat.errors import TrainingError
from timechat.runners import run_info
from timechat.runners.run_info import git_state, record_start, versions


def test_each_start_is_added(tmp_path: Path) -> None:
    """A resumed run keeps its id and what was known about its earlier starts."""
    first = record_start(tmp_path, tiny_config(["run.seed=7"]), engine="ddp", update=0)
    second = record_start(tmp_path, tiny_config(["run.seed=8"]), engine="ddp", update=30)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["run_info.json"]
    info = json.loads((tmp_path / "run_info.json").read_text())
    assert info["id"] == first
    assert [(s["config"]["run"]["seed"], s["update"], s["engine"]) for s in info["starts"]] == [
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


def test_packages_that_are_not_installed_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_info, "PACKAGES", ("no_such_package",))
    assert versions()["no_such_package"] is None


def _git(folder: Path, *command: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *options, *command], check=True, capture_output=True, text=True
    ).stdout


def test_the_commit_and_whether_the_tree_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "timechat"
    package.mkdir()
    (package / "__init__.py").write_text("1")
    monkeypatch.setattr(run_info.timechat, "__file__", str(package / "__init__.py"))
    assert git_state() is None
    _git(tmp_path, "init", "-q")
    assert git_state() is None, "installed within a checkout that does not track it"
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "x")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.jsonl").write_text("")
    assert git_state() == {"commit": commit, "dirty": False}
    (package / "__init__.py").write_text("2")
    assert git_state() == {"commit": commit, "dirty": True}


def test_a_machine_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() is None


@pytest.mark.parametrize("content", ["no json", "[]", '{"id": "x"}'])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run_info.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run_info\.json: is damaged"):
        record_start(tmp_path, tiny_config())
    assert (tmp_path / "run_info.json").read_text() == content


def test_of_this_checkout() -> None:
    """The tests run from one."""
    if (ROOT / ".git").exists():
        assert len(git_state()["commit"]) == 40
