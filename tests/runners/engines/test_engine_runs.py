"""The runner with every strategy but the default one, on two processes: train, save, resume, bit for bit."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from helpers.training import ROOT, Run, make_videos, read_lines, torchrun

from timechat.models import TimeChat
from timechat.models.checkpoints import canonical_name, load_weights

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.engines,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]
STRATEGIES = ("fsdp", "deepspeed_zero2", "deepspeed_zero3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs wrote, one folder for each strategy."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "datasets.json").write_text(json.dumps({"tv": make_videos(folder / "videos")}))
    worker = ROOT / "tests" / "helpers" / "engine_runs.py"
    status, output = torchrun(worker, str(folder), *STRATEGIES, timeout=1200.0)
    assert status == 0, output[-5000:]
    return folder


def _losses(output: Path) -> list[float]:
    return [record["loss"] for record in read_lines(output / "log.jsonl") if record["event"] == "train"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resumed_run_is_bit_identical(strategy: str, folder: Path) -> None:
    full, resumed = folder / strategy / "full", folder / strategy / "resumed"
    assert _losses(resumed) == _losses(full)
    assert len(_losses(full)) == 4
    states = [Run(None, output).checkpoint(1)["model"] for output in (full, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_resumes_in_which_lora_alone_learns(strategy: str, folder: Path) -> None:
    """It has one group of parameters, because none of them is without weight decay."""
    records = read_lines(folder / strategy / "lora" / "log.jsonl")
    assert [record["step"] for record in records if record["event"] == "train"] == [1, 2, 3, 4]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_checkpoints_are_in_the_published_format(strategy: str, folder: Path, tiny_model: TimeChat) -> None:
    checkpoint = Run(None, folder / strategy / "full").checkpoint(1)
    assert (checkpoint["optimizer"] is None) == strategy.startswith("deepspeed")
    report = load_weights(copy.deepcopy(tiny_model), checkpoint["model"], strategy)
    learns = {canonical_name(name) for name, p in tiny_model.named_parameters() if p.requires_grad}
    assert learns <= set(report.loaded)


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
def test_the_strategies_agree(strategy: str, folder: Path) -> None:
    """Dropout is on, keyed on the process: two strategies draw the same."""
    assert _losses(folder / strategy / "full") == pytest.approx(_losses(folder / STRATEGIES[2] / "full"), rel=1e-4)
