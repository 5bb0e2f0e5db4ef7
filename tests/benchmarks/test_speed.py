"""`make bench` and `benchmarks/gpu.py` run, at tiny sizes; what they measure is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import liger_stand_in
from helpers.training import ROOT
from omegaconf import DictConfig

from benchmarks import gpu
from benchmarks.full_size import cases
from benchmarks.full_size.cases import Group, Measurer, groups
from benchmarks.full_size.models import NotAvailable, Setting, Sizes
from benchmarks.speed.measure import MeasurementError, Timing, in_child
from benchmarks.speed.rows import Cost, Row, as_record, notes, table
from benchmarks.speed.subjects.growth import slopes
from timechat.models import TimeChat
from timechat.models.llama import causal_lm


def run(*arguments: str) -> str:
    """A fresh process, as measurements fork."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_bench_prints_and_writes_its_rows(tmp_path: Path) -> None:
    fast = ("--size", "tiny", "--threads", "1", "--seconds", "0", "--least", "1")
    out = run("-m", "benchmarks.speed", *fast, "--only", "train,collate", "--json", str(tmp_path / "x.json"))
    written = json.loads((tmp_path / "x.json").read_text())
    names = [row["what"].split()[0] for row in written["rows"]]
    assert names == ["train", "collate"]
    train = written["rows"][0]
    assert all(train[key] > 0 for key in ("this_wall_s", "eager_wall_s", "this_peak_bytes", "floor_wall_s"))
    assert all(row["what"] in out for row in written["rows"])
    assert written["machine"]["cores"] >= 1


def test_the_gpu_script_goes_on_after_what_cannot_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, few = tmp_path / "gpu.json", [Group(Setting(), (1,)), Group(None, (1,)), Group(Setting(), (1,))]

    def no_key(sizes: Sizes, setting: Setting, device: torch.device) -> DictConfig:
        raise NotAvailable("no such key")

    monkeypatch.setattr(gpu, "groups", lambda *_: few[:2])
    monkeypatch.setattr(gpu, "be_quiet", lambda: None)
    options = ["--device", "cpu", "--size", "tiny", "--seconds", "0", "--json", str(file)]
    assert gpu.main(options) == 0
    training, inference = json.loads(file.read_text())["cases"]
    assert {"ViT", "Q-Formers", "decoder", "decoder, backward", "Q-Formers, backward", "optimizer", "waiting"} <= set(
        training["parts_s"]
    )
    assert {"ViT", "Q-Formers", "decoder", "waiting"} <= set(inference["parts_s"])
    for case in (training, inference):
        assert case["status"] == "ok"
        assert min(case["parts_s"].values()) >= 0
        assert case["share_of_matmul"] > 0
    monkeypatch.setattr(gpu, "groups", lambda *_: few[2:])
    monkeypatch.setattr(Sizes, "config", no_key)
    assert gpu.main(options) == 0
    assert [case["status"] for case in json.loads(file.read_text())["cases"]] == ["not available: no such key"]


def test_cases_without_time_are_listed(tmp_path: Path) -> None:
    measurer = Measurer(Sizes("tiny", tmp_path), torch.device("cpu"), 1.0, until=0.0)
    for group in (Group(Setting(), (1, 2)), Group(None, (1, 2), compares=True)):
        assert [case["status"] for case in measurer.run(group)] == ["left out: no time"] * 2


def test_liger_is_not_available_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    liger_stand_in.install(monkeypatch)
    measurer = Measurer(Sizes("tiny", tmp_path), torch.device("cpu"), 1.0, until=float("inf"), seconds=0.0)
    found = [*measurer.run(Group(None, (2,), compares=True)), *measurer.run(Group(Setting(liger=True), (1,)))]
    for case in found:
        assert case["status"].startswith("not available: run.liger=true: Liger's kernels need a CUDA GPU"), case
        assert case["status"] in gpu.line(case)
    assert len(found) == 2


@pytest.mark.parametrize("faulty", [False, True])
def test_kernels_that_compute_other_numbers_do_not_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faulty: bool
) -> None:
    """In bf16, with stand-ins for Liger's kernels; the fault is a norm that is 5% too large in the last place."""
    liger_stand_in.install(monkeypatch)
    monkeypatch.setattr(cases, "check_liger", lambda device: None)
    real = TimeChat.use_liger

    def use_liger(model: TimeChat) -> None:
        real(model)
        if faulty:
            last = causal_lm(model.llama_model).model.norm
            kernel = last.forward
            last.forward = lambda x: kernel(x) * 1.05

    monkeypatch.setattr(TimeChat, "use_liger", use_liger)
    sizes = Sizes("tiny", tmp_path)
    sizes.content["model"] |= {"llama_precision": "bf16"}
    measurer = Measurer(sizes, torch.device("cpu"), 1.0, until=float("inf"))
    (case,) = measurer.run(Group(None, (2,), compares=True))
    assert case["status"] == "ok"
    assert case["agrees"] is not faulty
    assert 0 < case["logits_plain_error"] < 0.05 * case["logits_largest"], "bf16 rounds, and not everything away"
    assert (case["logits_difference"] > 0.03 * case["logits_largest"]) is faulty
    assert ("DO NOT AGREE" in gpu.line(case)) is faulty


def test_all_combinations_are_asked_for() -> None:
    asked = [case for group in groups() for case in group.cases()]
    training = {tuple(case.values()) for case in asked if case["kind"] == "training"}
    assert len(training) == 4 * 3 * 2 * 2
    assert [case["batch"] for case in asked if case["kind"] == "inference"] == [1, 4, 16]
    compared = next(number for number, case in enumerate(asked) if case["kind"] == cases.COMPARISON)
    assert not any(case.get("liger") for case in asked[:compared])
    assert all(case.get("liger") for case in asked[compared + 1 :])


def test_a_child_hands_over_errors_and_its_own_memory() -> None:
    outcome = in_child(lambda: len(bytearray(100 * 2**20)), 1)
    assert outcome.value == 100 * 2**20
    assert 95 * 2**20 < outcome.peak < 200 * 2**20
    assert in_child(lambda: None, 1).peak < 50 * 2**20
    with pytest.raises(MeasurementError, match="ZeroDivisionError"):
        in_child(lambda: 1 / 0, 1)


def test_rows_as_a_table_and_as_records() -> None:
    row = Row("encode", Cost(2.0, 1.0, 2**20), Cost(3.0, 4.0, 2**21), Timing(1.0, 0.25), "a floor", "a note")
    text = table([row, Row("other", Cost(0.001, 0.001))])
    first = text.splitlines()[1].split("  ")
    assert {"1.50", "4.00", "50%", "25%", "1", "2"} <= {cell.strip() for cell in first}
    assert "1.0 ms" in text
    assert notes([row]) == "encode: a note\n"
    assert as_record(row)["eager_peak_bytes"] == 2**21


def test_slopes_of_a_straight_line() -> None:
    points = [(n, Cost(0.0, 1.5 + 2.0 * n, 2**20 * (5 + n))) for n in (1, 10, 100)]
    text = slopes("frame", points)
    assert "time 1.50 s + 2.00 s for each frame, points within 0% of the largest" in text
    assert "memory 5 MiB + 1.00 MiB for each frame" in text
