"""The curves beside log.jsonl: what each tracker is told, and that a resumed run goes on with the same ones."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate import tracking
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from timechat.errors import ConfigError
from timechat.runners.logs import RunLog
from timechat.runners.trackers import Trackers

CPU = torch.device("cpu")
CONFIG = {"run": {"seed": 1, "loggers": ["wandb"], "precision": None}, "model": {"arch": "timechat"}}
RECORD = {"epoch": 1, "step": 30, "lr": 2.5e-5, "loss": 1.25, "skipped": 3}
RECORD |= {
    "mfu": None,
    "grad_norm": 0.75,
    "videos_per_s": 7.5,
    "tokens_per_s": 1.0,
    "data_wait": 0.0,
    "memory_gib": 1.0,
}


class _Wandb(ModuleType):
    """Takes the place of the package and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.axes: dict[str, str | None] = {}
        self.logged: list[dict[str, Any]] = []
        self.finished = 0

    def init(self, **settings: Any) -> _Wandb:
        self.started.append(settings)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        assert step is None, "wandb's own counter must not be set: it only grows"
        self.logged.append(values)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> _Wandb:
    """A fake package."""
    fake = _Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return fake


def test_wandb(tmp_path: Path, wandb: _Wandb) -> None:
    log = RunLog(tmp_path, loggers=["wandb"])
    assert not wandb.started, "a run that cannot begin is not shown"
    log.start("ab12cd34", {"run": {"seed": 1}}, CPU)
    log.step(RECORD)
    log.scores({"epoch": 1, "step": 30, "valid_loss": 2.5})
    log.close()
    (started,) = wandb.started
    assert (started["id"], started["resume"], started["project"]) == ("ab12cd34", "allow", "timechat")
    assert (started["dir"], started["config"]) == (str(tmp_path), {"run": {"seed": 1}})
    assert started["name"] == tmp_path.name
    assert wandb.axes == {"step": None, "*": "step"}
    known = {k: v for k, v in RECORD.items() if k not in ("epoch", "step") and v is not None}
    assert wandb.logged[0] == {f"train/{k}": v for k, v in known.items()} | {"step": 30}
    assert wandb.logged[1] == {"valid/valid_loss": 2.5, "step": 30}
    assert wandb.finished == 1
    assert not (tmp_path / "tensorboard").exists()


def test_wandb_projects_have_names(tmp_path: Path, wandb: _Wandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "cooking")
    Trackers(["wandb"]).start(tmp_path, 0, "ab12cd34", {}, CPU)
    assert wandb.started[0]["project"] == "cooking"


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", r"'timechat\[wandb\]'"), ("comet_ml", "comet_ml"), ("mlflow", "mlflow")]
)
def test_a_package_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    """On every process, so that none waits for the others."""
    monkeypatch.setitem(sys.modules, name, None)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(ConfigError, match=f"{name} cannot be imported .*pip install {package}, or take it out"):
            RunLog(tmp_path, loggers=[name])


def test_a_tracker_that_accelerate_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'wandbb' \(did you mean 'wandb'\?\); choose from aim, clearml, comet_ml, "):
        RunLog(tmp_path, loggers=["wandbb"])


def test_tensorboard_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    """A run that goes on after step 2 draws step 3 anew; what it drew before the kill is gone."""
    for finished, value in ((0, 1.0), (2, 9.0)):
        time.sleep(1.0)  # files of the same second are read in any order
        trackers = Trackers(["tensorboard"])
        trackers.start(tmp_path, finished, "ab12cd34", CONFIG, CPU)
        for step in range(finished + 1, 4):
            trackers.log({"train/loss": value}, step)
        trackers.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
    scalars = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(s.step, s.value) for s in scalars] == [(1, 1.0), (2, 1.0), (3, 9.0)]


class _Notebook(tracking.GeneralTracker):
    """A tracker that a user brings along."""

    name, requires_logging_directory = "notebook", True
    calls: list[tuple] = []  # noqa: RUF012

    def __init__(self, run_name: str, logging_dir: str):
        super().__init__()
        self.calls.append(("init", run_name, logging_dir))

    tracker = None

    def start(self) -> None:
        self.calls.append(("start",))

    def store_init_configuration(self, values: dict) -> None:
        self.calls.append(("config", values))

    def log(self, values: dict, step: int | None = None, **kwargs: Any) -> None:
        self.calls.append(("log", values, step))

    def finish(self) -> None:
        self.calls.append(("finish",))


def test_any_other_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "notebook", _Notebook)
    monkeypatch.setattr(_Notebook, "calls", [])
    trackers = Trackers(["notebook"])
    assert not _Notebook.calls
    trackers.start(tmp_path, 2, "ab12cd34", CONFIG, CPU)
    trackers.log({"train/loss": 1.5}, 3)
    trackers.close()
    settings = {"run.seed": 1, "run.loggers": "['wandb']", "run.precision": None, "model.arch": "timechat"}
    assert _Notebook.calls == [
        ("init", "timechat", str(tmp_path)),
        ("start",),
        ("config", settings),
        ("log", {"train/loss": 1.5}, 3),
        ("finish",),
    ]
